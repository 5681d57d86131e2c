// A placement as a picture: heads by worker, bytes by worker, time by layer and worker. For the
// terminal and as SVG. Pure.
#pragma once

#include <string>

#include "cli/head_map.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

struct PlacementView {
  v1::Placement placement;
  v1::PlacementReport report;
  int layers = 0;
  int kv_heads = 0;
};

// Below the map of DrawPlacementMap: a bar of every worker's memory, and its attention and MLP time
// in every layer as levels of the slowest worker's in any layer.
std::string DrawPlacementBars(const PlacementView& view, const MapStyle& style);

// The three pictures under each other. A split head shows each owner's part. Beyond 48 workers,
// bars and times are of the first 48 only, which the picture says.
std::string PlacementSvg(const PlacementView& view);

}  // namespace headlong

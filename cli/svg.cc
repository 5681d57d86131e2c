#include "cli/svg.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace headlong {
namespace {

constexpr char kInk[] = "#1f2430";
constexpr char kFaint[] = "#c9ced6";
constexpr char kPaper[] = "white";

// An element with its tooltip inside, if any.
std::string Element(const std::string& name, const std::string& attributes,
                    const std::string& tooltip) {
  if (tooltip.empty()) return absl::StrCat("<", name, " ", attributes, "/>\n");
  return absl::StrCat("<", name, " ", attributes, "><title>", XmlEscaped(tooltip), "</title></",
                      name, ">\n");
}

const char* AnchorName(SvgTextStyle::Anchor anchor) {
  if (anchor == SvgTextStyle::Anchor::kMiddle) return "middle";
  return anchor == SvgTextStyle::Anchor::kEnd ? "end" : "start";
}

}  // namespace

std::string XmlEscaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string HexColour(double red, double green, double blue) {
  const auto channel = [](double level) {
    return static_cast<int>(std::lround(255 * std::clamp(level, 0.0, 1.0)));
  };
  return absl::StrFormat("#%02x%02x%02x", channel(red), channel(green), channel(blue));
}

void SvgCanvas::Rect(SvgPoint corner, double width, double height, const std::string& fill,
                     const std::string& tooltip) {
  if (width <= 0 || height <= 0) return;
  body_ += Element("rect",
                   absl::StrFormat("x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
                                   "fill=\"%s\"",
                                   corner.x, corner.y, width, height, fill),
                   tooltip);
}

void SvgCanvas::Text(SvgPoint at, const std::string& text, const SvgTextStyle& style) {
  std::string attributes = absl::StrFormat("x=\"%.1f\" y=\"%.1f\"", at.x, at.y);
  if (style.anchor != SvgTextStyle::Anchor::kStart) {
    absl::StrAppend(&attributes, " text-anchor=\"", AnchorName(style.anchor), "\"");
  }
  if (style.size != 11) absl::StrAppend(&attributes, " font-size=\"", style.size, "\"");
  if (style.bold) attributes += " font-weight=\"bold\"";
  if (style.upwards) {
    absl::StrAppend(&attributes,
                    absl::StrFormat(" transform=\"rotate(-90 %.1f %.1f)\"", at.x, at.y));
  }
  const std::string ink = style.fill.empty() ? "ink" : "";
  const std::string classes = absl::StrCat(ink, style.halo ? " halo" : "");
  if (!classes.empty()) absl::StrAppend(&attributes, " class=\"", classes, "\"");
  absl::StrAppend(&attributes, " fill=\"", style.fill.empty() ? kInk : style.fill, "\"");
  if (style.halo) {
    absl::StrAppend(&attributes, " stroke=\"", kPaper,
                    "\" stroke-width=\"4\" paint-order=\"stroke\"");
  }
  absl::StrAppend(&body_, "<text ", attributes, ">", XmlEscaped(text), "</text>\n");
}

void SvgCanvas::Line(SvgPoint from, SvgPoint to) {
  body_ += Element("line",
                   absl::StrFormat("x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                                   "class=\"faint\" stroke=\"%s\"",
                                   from.x, from.y, to.x, to.y, kFaint),
                   "");
}

void SvgCanvas::Polyline(const std::vector<SvgPoint>& points, const std::string& colour) {
  std::string list;
  for (const SvgPoint& point : points) {
    absl::StrAppend(&list, list.empty() ? "" : " ", absl::StrFormat("%.1f,%.1f", point.x, point.y));
  }
  absl::StrAppend(&body_, "<polyline points=\"", list, "\" fill=\"none\" stroke=\"", colour,
                  "\" stroke-width=\"2\"/>\n");
}

void SvgCanvas::Circle(SvgPoint centre, double radius, const std::string& fill,
                       const std::string& tooltip) {
  body_ += Element("circle",
                   absl::StrFormat("cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"", centre.x,
                                   centre.y, radius, fill),
                   tooltip);
}

std::string SvgCanvas::Document(double width, double height) const {
  return absl::StrCat(
      absl::StrFormat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                      "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"11\">\n",
                      width, height, width, height),
      absl::StrFormat("<rect class=\"paper\" width=\"%.0f\" height=\"%.0f\" fill=\"%s\"/>\n", width,
                      height, kPaper),
      body_, "</svg>\n");
}

}  // namespace headlong

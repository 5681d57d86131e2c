// An SVG picture as text: rectangles, lines, circles and text only, so that any viewer shows it.
// Text, lines, the background and edges in its colour have the classes ink, faint, paper and halo,
// by which a page that the picture is part of may give them other colours.
#pragma once

#include <string>
#include <vector>

namespace headlong {

struct SvgPoint {
  double x = 0;
  double y = 0;
};

struct SvgTextStyle {
  enum class Anchor { kStart, kMiddle, kEnd };
  Anchor anchor = Anchor::kStart;
  int size = 11;
  bool bold = false;
  std::string fill = {};  // empty: ink
  bool upwards = false;   // turned by a quarter to the left
  bool halo = false;      // an edge in the colour of the background, over lines
};

class SvgCanvas {
 public:
  // Nothing where there is no area. `tooltip`: shown by viewers that point; none when empty.
  void Rect(SvgPoint corner, double width, double height, const std::string& fill,
            const std::string& tooltip = "");
  void Text(SvgPoint at, const std::string& text, const SvgTextStyle& style = {});
  void Line(SvgPoint from, SvgPoint to);
  void Polyline(const std::vector<SvgPoint>& points, const std::string& colour);
  void Circle(SvgPoint centre, double radius, const std::string& fill,
              const std::string& tooltip = "");

  // The whole file.
  std::string Document(double width, double height) const;

 private:
  std::string body_;
};

// `text` inside an element or an attribute.
std::string XmlEscaped(const std::string& text);

// "#rrggbb" of channels in [0, 1].
std::string HexColour(double red, double green, double blue);

}  // namespace headlong

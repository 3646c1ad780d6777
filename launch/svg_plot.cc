#include "launch/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace echelon {
namespace {

constexpr double kWidth = 360, kHeight = 240, kMargin = 56;
constexpr std::array kColours = {"#1f5fa8", "#b03a2e"};

/// Text for XML.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

/// Its upper left corner at (left, 0).
std::string drawn(const Plot& plot, double left, const std::string& x_name) {
  double most_x = 0, most_y = 0;
  for (const PlotLine& line : plot.lines) {
    for (const auto& [x, y] : line.points) {
      most_x = std::max(most_x, x);
      most_y = std::max(most_y, y);
    }
  }
  const auto x_of = [&](double x) { return left + kMargin + (most_x > 0 ? x / most_x : 0) * (kWidth - 1.5 * kMargin); };
  const auto y_of = [&](double y) {
    return kHeight - kMargin - (most_y > 0 ? y / most_y : 0) * (kHeight - 2 * kMargin);
  };
  std::string out = fmt::format(
      "<text x='{:.0f}' y='20' font-weight='bold'>{}</text>\n"
      "<path d='M{:.1f} {:.1f}V{:.1f}H{:.1f}' fill='none' stroke='black'/>\n"
      "<text x='{:.1f}' y='{:.1f}' text-anchor='end'>{:.4g}</text>\n<text x='{:.1f}' y='{:.1f}' "
      "text-anchor='middle'>{:.4g}</text>\n<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{}</text>\n",
      left + 8, escaped(plot.title), x_of(0), y_of(most_y), y_of(0), x_of(most_x), x_of(0) - 4, y_of(most_y) + 4,
      most_y, x_of(most_x), y_of(0) + 16, most_x, x_of(most_x / 2), y_of(0) + 32, escaped(x_name));
  double legend = 36;
  for (size_t i = 0; i < plot.lines.size(); ++i) {
    std::string points;
    for (const auto& [x, y] : plot.lines[i].points) points += fmt::format("{:.1f},{:.1f} ", x_of(x), y_of(y));
    out += fmt::format(
        "<polyline points='{}' fill='none' stroke='{}' stroke-width='2'/>\n<text x='{:.0f}' y='{:.0f}' "
        "fill='{}'>{}</text>\n",
        points, kColours[i % kColours.size()], left + kWidth - kMargin, legend, kColours[i % kColours.size()],
        escaped(plot.lines[i].name));
    legend += 14;
  }
  return out;
}

}  // namespace

std::string svg_plots(const std::string& title, const std::string& x_name, const std::vector<Plot>& plots) {
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0:.0f}' height='{1:.0f}' font-family='sans-serif' "
      "font-size='11'>\n<title>{2}</title>\n<rect width='{0:.0f}' height='{1:.0f}' fill='white'/>\n",
      static_cast<double>(plots.size()) * kWidth, kHeight, escaped(title));
  for (size_t i = 0; i < plots.size(); ++i) out += drawn(plots[i], static_cast<double>(i) * kWidth, x_name);
  return out + "</svg>\n";
}

}  // namespace echelon

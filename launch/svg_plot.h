// Plots of lines as one SVG picture. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace echelon {

struct PlotLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< x, y; from 0 up
};

struct Plot {
  std::string title;
  std::vector<PlotLine> lines;  ///< one or two
};

/// Side by side, over the same x. Both axes begin at 0.
std::string svg_plots(const std::string& title, const std::string& x_name, const std::vector<Plot>& plots);

}  // namespace echelon

// Documents just below the limits of one, each hostile to another part of the reader.
#pragma once

#include <string>
#include <vector>

namespace dstack::bench {

struct Shape {
  std::string name;  // part of a figure's name
  std::string text;
};

std::vector<Shape> WorstShapes();

}  // namespace dstack::bench

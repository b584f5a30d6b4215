// Prints the JSON Schema of the type given as argument; for tests/tools/check_schema.py.
#include <iostream>

#include <nlohmann/json.hpp>

#include "libs/config/schema.h"

int main(int argc, char** argv) {
  const auto schema = dstack::config::JsonSchema(argc > 1 ? argv[1] : "");
  if (!schema.ok()) {
    std::cerr << schema.status() << std::endl;
    return 1;
  }
  std::cout << schema->dump(2) << std::endl;
  return 0;
}

#include "clients/cli/app.h"

int main(int argc, char** argv) {
  return dstack::cli::RunApp(std::vector<std::string>(argv + 1, argv + argc));
}

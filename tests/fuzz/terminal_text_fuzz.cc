// Text of strangers in a table: whatever it is, nothing of it reaches the terminal as a command.
#include <string>

#include "clients/cli/render/text.h"
#include "tests/fuzz/fuzz.h"

namespace {

void CheckHarmless(const std::string& text, bool may_have_lines) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte == '\n' || byte == '\t') && may_have_lines) continue;
    FUZZ_CHECK(byte >= 0x20 && byte != 0x7f);
    // C1 controls as UTF-8: 0xc2 0x80 to 0xc2 0x9f.
    const bool is_c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    FUZZ_CHECK(!is_c1);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dstack::fuzz::Measured measured;
  const std::string text(dstack::fuzz::Text(data, size));
  const std::string cell = dstack::cli::Neutralise(text);
  CheckHarmless(cell, /*may_have_lines=*/false);
  FUZZ_CHECK(dstack::cli::Neutralise(cell) == cell);
  CheckHarmless(dstack::cli::NeutraliseLines(text), /*may_have_lines=*/true);
  return 0;
}

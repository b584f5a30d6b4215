// The whole way of a document: YAML, message, validation, canonical form and back.
#include <string>

#include <google/protobuf/util/message_differencer.h>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/config/canonical.h"
#include "libs/config/defaults.h"
#include "libs/config/document.h"
#include "tests/fuzz/fuzz.h"

namespace {

using dstack::config::AnyDocument;

void Fill(AnyDocument* document) {
  auto* configuration = std::get_if<dstack::config::Configuration>(&document->content);
  if (configuration != nullptr) dstack::config::ApplyDefaults(configuration);
}

absl::StatusOr<AnyDocument> Parse(std::string_view text) {
  const dstack::fuzz::Measured measured;
  return dstack::config::ParseAnyDocument(text, "fuzz.dstack.yml");
}

// What was read is printed, and read back as the same.
void CheckPrinted(AnyDocument document) {
  Fill(&document);
  const std::string printed = dstack::config::PrintYaml(dstack::config::CanonicalJson(document));
  absl::StatusOr<AnyDocument> again =
      dstack::config::ParseAnyDocument(printed, "printed.dstack.yml");
  FUZZ_CHECK(again.ok());
  Fill(&*again);
  FUZZ_CHECK(google::protobuf::util::MessageDifferencer::Equals(dstack::config::MessageOf(document),
                                                                dstack::config::MessageOf(*again)));
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::StatusOr<AnyDocument> document = Parse(dstack::fuzz::Text(data, size));
  if (!document.ok()) {
    FUZZ_CHECK(document.status().code() == absl::StatusCode::kInvalidArgument);
    FUZZ_CHECK(!dstack::base::FieldViolations(document.status()).empty());
    FUZZ_CHECK(!document.status().message().empty());
    return 0;
  }
  // The canonical form is longer than the document and may pass its limits.
  constexpr size_t kMostBytesPrinted = 64 << 10;
  if (size <= kMostBytesPrinted) CheckPrinted(*std::move(document));
  return 0;
}

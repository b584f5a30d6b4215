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

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dstack::fuzz::Measured measured;
  absl::StatusOr<AnyDocument> document =
      dstack::config::ParseAnyDocument(dstack::fuzz::Text(data, size), "fuzz.dstack.yml");
  if (!document.ok()) {
    FUZZ_CHECK(document.status().code() == absl::StatusCode::kInvalidArgument);
    FUZZ_CHECK(!dstack::base::FieldViolations(document.status()).empty());
    FUZZ_CHECK(!document.status().message().empty());
    return 0;
  }
  Fill(&*document);
  const std::string printed = PrintYaml(CanonicalJson(*document));
  absl::StatusOr<AnyDocument> again =
      dstack::config::ParseAnyDocument(printed, "printed.dstack.yml");
  FUZZ_CHECK(again.ok());
  Fill(&*again);
  FUZZ_CHECK(
      google::protobuf::util::MessageDifferencer::Equals(MessageOf(*document), MessageOf(*again)));
  return 0;
}

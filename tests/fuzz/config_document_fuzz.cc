// The whole way of a document: YAML, message, validation.
#include "libs/base/status.h"
#include "libs/config/document.h"
#include "tests/fuzz/fuzz.h"

using dstack::config::Document;
using dstack::config::ParseDocument;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<Document> document =
      ParseDocument(dstack::fuzz::Text(data, size), "fuzz.dstack.yml");
  if (document.ok()) return 0;
  FUZZ_CHECK(document.status().code() == absl::StatusCode::kInvalidArgument);
  FUZZ_CHECK(!dstack::base::FieldViolations(document.status()).empty());
  return 0;
}

// The sample documents of tests/fixtures/configs, whole and damaged.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/config/canonical.h"
#include "libs/config/defaults.h"
#include "libs/config/document.h"
#include "libs/config/interpolate.h"
#include "libs/config/validate.h"
#include "libs/testing/paths.h"

namespace dstack::config {
namespace {

struct Sample {
  std::string name;
  std::string text;
};

std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<Sample> SamplesOf(const std::string& folder) {
  std::vector<Sample> samples;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing::SourceDir() + "/tests/fixtures/" + folder)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".yml")) samples.push_back({name, ReadText(entry.path())});
  }
  std::sort(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) {
    return a.name < b.name;
  });
  return samples;
}

// Compares with a file below tests/fixtures; with DSTACK_UPDATE_FIXTURES set, writes it.
void CheckFixture(const std::string& name, const std::string& actual) {
  const std::string path = testing::SourceDir() + "/tests/fixtures/" + name;
  if (std::getenv("DSTACK_UPDATE_FIXTURES") != nullptr) std::ofstream(path) << actual;
  CHECK(ReadText(path) == actual);
}

void CheckLaterStages(Configuration* configuration) {
  if (auto* run = std::get_if<v1::RunConfiguration>(configuration)) {
    CHECK(CheckGroupAddresses(*run).ToString() == "OK");
    v1::RunConfiguration interpolated = *run;
    CHECK(InterpolateRun({"--lr", "1"}, &interpolated).ToString() == "OK");
  }
  ApplyDefaults(configuration);
  if (auto* run = std::get_if<v1::RunConfiguration>(configuration)) {
    CHECK(ValidateRun(*run).ToString() == "OK");
  }
  if (auto* fleet = std::get_if<v1::FleetConfiguration>(configuration)) {
    CHECK(ValidateFleet(*fleet).ToString() == "OK");
  }
}

TEST_CASE("sample documents are valid, also with defaults, and have their canonical form") {
  const std::vector<Sample> samples = SamplesOf("configs");
  REQUIRE(samples.size() >= 35);
  for (const Sample& sample : samples) {
    DYNAMIC_SECTION(sample.name) {
      absl::StatusOr<AnyDocument> document = ParseAnyDocument(sample.text, sample.name);
      INFO(document.status().ToString());
      REQUIRE(document.ok());
      CHECK(document->warnings.empty());
      if (auto* configuration = std::get_if<Configuration>(&document->content)) {
        CheckLaterStages(configuration);
      }
      CheckFixture("configs/canonical/" + sample.name, PrintYaml(CanonicalJson(*document)));
    }
  }
}

TEST_CASE("common mistakes are explained") {
  const std::vector<Sample> samples = SamplesOf("mistakes");
  REQUIRE(samples.size() >= 40);
  for (const Sample& sample : samples) {
    DYNAMIC_SECTION(sample.name) {
      const CheckedDocument checked = CheckDocument(sample.text, sample.name);
      // Some mean something all the same, and are warned about.
      const auto& told = checked.problems.empty() ? checked.warnings : checked.problems;
      REQUIRE(!told.empty());
      CheckFixture("mistakes/" + sample.name.substr(0, sample.name.size() - 4) + ".txt",
                   FormatProblems(told, sample.text) + "\n");
    }
  }
}

// One random edit: a byte changed, removed, or a piece of the text repeated elsewhere.
std::string Damaged(std::string text, std::mt19937* random) {
  const auto below = [&](size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(*random);
  };
  constexpr std::string_view kBytes = ":-[]{}\"'&*!|>#%@,?\n\t \x01\xff~09a.$";
  const size_t position = below(text.size());
  switch (below(3)) {
    case 0:
      text[position] = kBytes[below(kBytes.size())];
      break;
    case 1:
      text.erase(position, 1 + below(8));
      break;
    default:
      text.insert(position, text.substr(below(text.size()), 1 + below(24)));
      break;
  }
  return text;
}

TEST_CASE("damaged documents are read or refused, and nothing else") {
  const auto seed = static_cast<unsigned>(std::random_device{}());
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (const Sample& sample : SamplesOf("configs")) {
    std::string text = sample.text;
    for (int i = 0; i < 60; ++i) {
      // Damage piles up for a while, then starts afresh.
      text = i % 10 == 0 || text.empty() ? sample.text : Damaged(text, &random);
      const absl::StatusOr<AnyDocument> document = ParseAnyDocument(text, sample.name);
      if (document.ok()) continue;
      INFO(text);
      CHECK(document.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK(!base::FieldViolations(document.status()).empty());
    }
  }
}

}  // namespace
}  // namespace dstack::config

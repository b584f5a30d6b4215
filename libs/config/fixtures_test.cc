// The sample documents of tests/fixtures/configs, whole and damaged.
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
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

std::vector<Sample> Samples() {
  std::vector<Sample> samples;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing::SourceDir() + "/tests/fixtures/configs")) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".dstack.yml")) continue;
    std::ifstream file(entry.path());
    std::stringstream text;
    text << file.rdbuf();
    samples.push_back({name, text.str()});
  }
  return samples;
}

TEST_CASE("sample documents are valid, also with defaults") {
  const std::vector<Sample> samples = Samples();
  REQUIRE(samples.size() >= 7);
  for (const Sample& sample : samples) {
    INFO(sample.name);
    absl::StatusOr<Document> document = ParseDocument(sample.text, sample.name);
    INFO(document.status());
    REQUIRE(document.ok());
    CHECK(document->warnings.empty());
    if (auto* run = std::get_if<v1::RunConfiguration>(&document->configuration)) {
      CHECK(CheckGroupAddresses(*run).ok());
      CHECK(InterpolateRun({"--lr", "1"}, run).ok());
      ApplyDefaults(run);
      CHECK(ValidateRun(*run).ToString() == "OK");
    } else {
      auto& fleet = std::get<v1::FleetConfiguration>(document->configuration);
      ApplyDefaults(&fleet);
      CHECK(ValidateFleet(fleet).ToString() == "OK");
    }
  }
}

TEST_CASE("a sample of profiles is valid") {
  std::ifstream file(testing::SourceDir() + "/tests/fixtures/configs/profiles.yml");
  std::stringstream text;
  text << file.rdbuf();
  const absl::StatusOr<v1::ProfilesFile> profiles = ParseProfiles(text.str(), "profiles.yml");
  INFO(profiles.status());
  REQUIRE(profiles.ok());
  CHECK(profiles->profiles_size() == 2);
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
  for (const Sample& sample : Samples()) {
    std::string text = sample.text;
    for (int i = 0; i < 150; ++i) {
      // Damage piles up for a while, then starts afresh.
      text = i % 10 == 0 || text.empty() ? sample.text : Damaged(text, &random);
      const absl::StatusOr<Document> document = ParseDocument(text, sample.name);
      if (document.ok()) continue;
      INFO(text);
      CHECK(document.status().code() == absl::StatusCode::kInvalidArgument);
      CHECK(!base::FieldViolations(document.status()).empty());
    }
  }
}

}  // namespace
}  // namespace dstack::config

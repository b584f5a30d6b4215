#include "services/server/store/random_names.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "fmt/format.h"

namespace dstack::server {
namespace {

constexpr std::array kAdjectives = {
    "able",    "agile",    "amber",   "ample",  "ancient", "apt",     "arctic",   "average",
    "azure",   "big",      "bitter",  "black",  "blue",    "bold",    "brave",    "breezy",
    "brief",   "bright",   "brisk",   "broad",  "bronze",  "busy",    "calm",     "candid",
    "careful", "cheerful", "chilly",  "clear",  "clever",  "cloudy",  "cold",     "cool",
    "copper",  "coral",    "cosmic",  "cozy",   "crisp",   "curious", "daring",   "dark",
    "deep",    "distant",  "dizzy",   "dry",    "dusty",   "eager",   "early",    "easy",
    "elder",   "even",     "exact",   "fair",   "faint",   "fast",    "fearless", "fierce",
    "fine",    "firm",     "fluffy",  "fond",   "free",    "fresh",   "funny",    "fuzzy",
    "gentle",  "giant",    "glad",    "golden", "good",    "grand",   "great",    "green",
    "happy",   "hardy",    "hasty",   "heavy",  "honest",  "hot",     "huge",     "humble",
    "icy",     "ideal",    "jolly",   "keen",   "kind",    "large",   "late",     "lazy",
    "light",   "lively",   "loud",    "lucky",  "lunar",   "mellow",  "merry",    "mighty",
    "mild",    "modest",   "moody",   "neat",   "new",     "nice",    "noble",    "odd",
    "old",     "orange",   "patient", "plain",  "polite",  "proud",   "quick",    "quiet",
    "rapid",   "rare",     "ready",   "red",    "rich",    "round",   "royal",    "rusty",
    "sharp",   "shy",      "silent",  "silver", "smart",   "soft",    "solid",    "spicy",
    "stable",  "steady",   "strong",  "sunny",  "sweet",   "swift",   "tall",     "tame",
    "tender",  "tidy",     "tiny",    "vivid",  "warm",    "wet",     "wild",     "wise",
    "witty",   "young",    "zesty"};

constexpr std::array kAnimals = {
    "ant",      "badger",   "bat",      "bear",    "beaver",   "bee",      "bison",    "bobcat",
    "buffalo",  "camel",    "caribou",  "cat",     "cheetah",  "chipmunk", "cobra",    "condor",
    "cougar",   "coyote",   "crab",     "crane",   "cricket",  "crow",     "deer",     "dingo",
    "dog",      "dolphin",  "donkey",   "dove",    "duck",     "eagle",    "eel",      "elephant",
    "elk",      "falcon",   "ferret",   "finch",   "firefly",  "fish",     "flamingo", "fox",
    "frog",     "gazelle",  "gecko",    "gibbon",  "giraffe",  "goat",     "goose",    "gopher",
    "grouse",   "hamster",  "hare",     "hawk",    "hedgehog", "heron",    "hippo",    "horse",
    "hound",    "husky",    "hyena",    "ibex",    "iguana",   "impala",   "jackal",   "jaguar",
    "kangaroo", "kiwi",     "koala",    "lemur",   "leopard",  "lion",     "lizard",   "llama",
    "lobster",  "lynx",     "magpie",   "mammoth", "marmot",   "mole",     "mongoose", "monkey",
    "moose",    "moth",     "mouse",    "mule",    "narwhal",  "newt",     "octopus",  "opossum",
    "orca",     "ostrich",  "otter",    "owl",     "oriole",   "panda",    "panther",  "parrot",
    "pelican",  "penguin",  "pigeon",   "puma",    "python",   "quail",    "rabbit",   "raccoon",
    "robin",    "salmon",   "seal",     "shark",   "sheep",    "sloth",    "snail",    "sparrow",
    "squid",    "starfish", "stingray", "stork",   "swan",     "tiger",    "toucan",   "trout",
    "turtle",   "viper",    "walrus",   "weasel",  "whale",    "wolf",     "wombat",   "zebra"};

template <typename Words>
std::string_view Pick(const Words& words, base::Random& random) {
  const auto index = static_cast<std::size_t>(random.Uniform() * static_cast<double>(words.size()));
  return words[std::min(index, words.size() - 1)];
}

}  // namespace

std::string RandomPair(base::Random& random) {
  const std::string_view adjective = Pick(kAdjectives, random);
  return fmt::format("{}-{}", adjective, Pick(kAnimals, random));
}

std::string LowestFreeName(const std::string& pair, const std::vector<std::string>& taken) {
  for (std::size_t number = 1;; ++number) {
    std::string name = fmt::format("{}-{}", pair, number);
    if (std::find(taken.begin(), taken.end(), name) == taken.end()) return name;
  }
}

}  // namespace dstack::server

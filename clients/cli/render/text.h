// Short texts of the screens: dates, prices, hardware, and text from elsewhere made harmless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "dstack/common/v1/resources.pb.h"
#include "google/protobuf/timestamp.pb.h"

#include "libs/base/clock.h"

namespace dstack::cli {

// Text for one table cell or message: control characters (terminal escapes, line ends, C1) and
// characters that turn the direction of writing become visible escapes such as "\x1b"; bytes that
// are not UTF-8 become U+FFFD.
std::string Neutralise(std::string_view text);

// As Neutralise, but line ends stay: for messages of several lines.
std::string NeutraliseLines(std::string_view text);

// Number of terminal cells, one for each code point; wide characters are counted as one.
size_t DisplayWidth(std::string_view text);

// The text cut to `width` cells; a cut text ends in "…".
std::string Truncate(std::string_view text, size_t width);

// The text in lines of at most `width` cells (0: no limit), broken at blanks; `first` begins the
// first line, `rest` the others. Ended by '\n'. A word that is too long is not broken.
std::string Wrap(std::string_view text,
                 size_t width,
                 std::string_view first,
                 std::string_view rest);

// Breaks the lines of a message that are wider than `width` cells (0: no limit) at blanks. Lines that
// begin with a blank show something of a file and stay.
std::string WrapMessage(std::string_view text, size_t width);

base::WallTime ToWallTime(const google::protobuf::Timestamp& timestamp);

// "now", "42 sec ago", "1 min ago", "yesterday", "3 weeks ago". A time in the future is "now".
std::string RelativeDate(base::WallTime then, base::WallTime now);

// Local clock time "14:05".
std::string ClockTime(base::WallTime then);

// "$0.2145", "$12"; at most four digits after the point.
std::string FormatPrice(double dollars);

// Size in GB, at most one digit after the point: "16GB", "0.5GB".
std::string FormatGigabytes(uint64_t bytes);

// "A100:80GB:2" for each kind of accelerator, joined by ","; "-" where there is none.
std::string FormatGpus(const common::v1::Resources& resources);

// "cpu=8 mem=32GB disk=100GB gpu=A100:80GB:2"; unknown parts are left out.
std::string FormatHardware(const common::v1::Resources& resources);

// "ssh (remote)"; "remote", the internal name of own hosts, is shown as "ssh"; "-" without backend.
std::string FormatBackend(std::string_view backend, std::string_view region);

// The first letter in upper case.
std::string Capitalise(std::string_view text);

}  // namespace dstack::cli

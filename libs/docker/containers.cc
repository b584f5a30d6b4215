#include "libs/docker/containers.h"

#include <charconv>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libs/base/macros.h"
#include "libs/base/status.h"

namespace dstack::docker {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kCreateTimeout = std::chrono::minutes(2);
constexpr std::chrono::milliseconds kRemoveTimeout = std::chrono::seconds(60);
constexpr std::size_t kMaxLogTail = std::size_t{16} << 10;

std::string PortKey(std::uint16_t port) { return fmt::format("{}/tcp", port); }

json MountsOf(const ContainerConfig& config) {
  json mounts = json::array();
  for (const Mount& mount : config.mounts) {
    // Not the short "source:target" form: a path may hold a colon.
    mounts.push_back({{"Type", "bind"},
                      {"Source", mount.source},
                      {"Target", mount.target},
                      {"ReadOnly", mount.is_read_only}});
  }
  for (const std::string& target : config.anonymous_volumes) {
    mounts.push_back({{"Type", "volume"}, {"Target", target}});
  }
  return mounts;
}

json DevicesOf(const ContainerConfig& config) {
  json devices = json::array();
  for (const Device& device : config.devices) {
    devices.push_back({{"PathOnHost", device.path_on_host},
                       {"PathInContainer", device.path_in_container},
                       {"CgroupPermissions", "rwm"}});
  }
  return devices;
}

json HostConfigOf(const ContainerConfig& config) {
  json host = {{"Init", false},
               {"RestartPolicy", {{"Name", "no"}}},
               {"Mounts", MountsOf(config)},
               {"Privileged", config.is_privileged}};
  if (!config.network_mode.empty()) host["NetworkMode"] = config.network_mode;
  if (config.nano_cpus > 0) host["NanoCpus"] = config.nano_cpus;
  if (config.memory_bytes > 0) host["Memory"] = config.memory_bytes;
  if (config.shm_bytes > 0) {
    host["ShmSize"] = config.shm_bytes;
    // The engine's own /dev/shm is mounted noexec.
    host["Tmpfs"] = {{"/dev/shm", fmt::format("exec,size={}", config.shm_bytes)}};
  }
  if (!config.devices.empty()) host["Devices"] = DevicesOf(config);
  if (config.gpus) {
    host["DeviceRequests"] =
        json::array({{{"DeviceIDs", config.gpus->ids},
                      {"Capabilities", json::array({config.gpus->capabilities})}}});
  }
  if (config.has_unlimited_memlock) {
    host["Ulimits"] = json::array({{{"Name", "memlock"}, {"Soft", -1}, {"Hard", -1}}});
  }
  if (!config.added_capabilities.empty()) host["CapAdd"] = config.added_capabilities;
  if (!config.security_options.empty()) host["SecurityOpt"] = config.security_options;
  if (!config.runtime.empty()) host["Runtime"] = config.runtime;
  if (!config.ipc_mode.empty()) host["IpcMode"] = config.ipc_mode;
  for (const PublishedPort& port : config.published_ports) {
    const std::string host_port = port.host_port == 0 ? "" : fmt::format("{}", port.host_port);
    host["PortBindings"][PortKey(port.container_port)] =
        json::array({{{"HostIp", "127.0.0.1"}, {"HostPort", host_port}}});
  }
  return host;
}

std::uint16_t ParsePort(std::string_view text) {
  std::uint16_t port = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), port);
  return result.ec == std::errc() && result.ptr == text.data() + text.size() ? port : 0;
}

// Host port of the first IPv4 binding; 0 when there is none.
std::uint16_t HostPort(const json& bindings) {
  if (!bindings.is_array()) return 0;
  for (const json& binding : bindings) {
    const std::string address = binding.value("HostIp", std::string());
    if (address.find(':') != address.npos) continue;
    return ParsePort(binding.value("HostPort", std::string()));
  }
  return 0;
}

std::vector<PublishedPort> PortsOf(const json& container) {
  std::vector<PublishedPort> ports;
  const json& map = container.value(json::json_pointer("/NetworkSettings/Ports"), json::object());
  if (!map.is_object()) return ports;
  for (const auto& [key, bindings] : map.items()) {
    if (!key.ends_with("/tcp")) continue;
    const std::uint16_t container_port = ParsePort(std::string_view(key).substr(0, key.size() - 4));
    const std::uint16_t host_port = HostPort(bindings);
    if (container_port != 0 && host_port != 0) ports.push_back({container_port, host_port});
  }
  return ports;
}

std::string ContainerPath(const std::string& id, std::string_view rest) {
  return fmt::format("/containers/{}{}", UrlEscape(id), rest);
}

absl::StatusOr<int> ParseWait(const absl::StatusOr<HttpResponse>& response) {
  if (!response.ok()) return response.status();
  const json body = json::parse(response->body, nullptr, false);
  if (!body.is_object() || !body.contains("StatusCode")) {
    return absl::UnavailableError("the engine ended the wait without an exit code");
  }
  return body.value("StatusCode", 0);
}

}  // namespace

std::string CreateBody(const ContainerConfig& config) {
  json body = {{"Image", config.image}, {"HostConfig", HostConfigOf(config)}};
  if (!config.entrypoint.empty()) body["Entrypoint"] = config.entrypoint;
  // Always given: an overridden entrypoint alone would still get the image's own arguments.
  body["Cmd"] = config.cmd;
  if (!config.env.empty()) body["Env"] = config.env;
  if (!config.user.empty()) body["User"] = config.user;
  if (!config.labels.empty()) body["Labels"] = config.labels;
  if (!config.stop_signal.empty()) body["StopSignal"] = config.stop_signal;
  for (const PublishedPort& port : config.published_ports) {
    body["ExposedPorts"][PortKey(port.container_port)] = json::object();
  }
  // A health check of the image would start processes beside the job.
  body["Healthcheck"] = {{"Test", json::array({"NONE"})}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<ContainerInfo> ParseContainer(std::string_view text) {
  const json body = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object() || !body.contains("State")) {
    return absl::InternalError("the engine's container is not JSON");
  }
  try {
    const json& state = body["State"];
    ContainerInfo info;
    info.id = body.value("Id", std::string());
    info.name = body.value("Name", std::string());
    if (info.name.starts_with('/')) info.name.erase(0, 1);
    info.state = state.value("Status", std::string());
    info.exit_code = state.value("ExitCode", 0);
    info.is_oom_killed = state.value("OOMKilled", false);
    info.error = state.value("Error", std::string());
    info.image_id = body.value("Image", std::string());
    info.pid = state.value("Pid", std::int64_t{0});
    const std::string started = state.value("StartedAt", std::string());
    info.was_started = !started.empty() && !started.starts_with("0001-01-01");
    const json labels = body.value(json::json_pointer("/Config/Labels"), json::object());
    for (const auto& [key, value] : labels.items()) {
      if (value.is_string()) info.labels[key] = value.get<std::string>();
    }
    info.ports = PortsOf(body);
    return info;
  } catch (const json::exception& e) {
    return absl::InternalError(
        fmt::format("the engine's container has another form: {}", e.what()));
  }
}

absl::StatusOr<std::string> CreateContainer(const Client& client,
                                            const std::string& name,
                                            const ContainerConfig& config,
                                            const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const HttpResponse response,
                   client.Call({.method = Method::kPost,
                                .path = "/containers/create?name=" + UrlEscape(name),
                                .body = CreateBody(config),
                                .timeout = kCreateTimeout},
                               stop));
  const json body = json::parse(response.body, nullptr, false);
  const std::string id = body.is_object() ? body.value("Id", std::string()) : std::string();
  if (id.empty()) return absl::InternalError("the engine created a container without an id");
  return id;
}

absl::Status StartContainer(const Client& client,
                            const std::string& id,
                            const std::stop_token& stop) {
  // 304, "already started", is below 400 and therefore OK.
  return client
      .Call(
          {.method = Method::kPost, .path = ContainerPath(id, "/start"), .timeout = kCreateTimeout},
          stop)
      .status();
}

absl::StatusOr<ContainerInfo> InspectContainer(const Client& client,
                                               const std::string& id,
                                               const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const HttpResponse response,
                   client.Call({.path = ContainerPath(id, "/json")}, stop));
  return ParseContainer(response.body);
}

absl::StatusOr<std::vector<std::string>> ListContainers(
    const Client& client,
    const std::map<std::string, std::string>& labels,
    const std::stop_token& stop) {
  json filters = {{"label", json::array()}};
  for (const auto& [key, value] : labels) {
    filters["label"].push_back(fmt::format("{}={}", key, value));
  }
  const std::string path =
      fmt::format("/containers/json?all=true&filters={}", UrlEscape(filters.dump()));
  ASSIGN_OR_RETURN(const HttpResponse response,
                   client.Call({.path = path, .timeout = std::chrono::seconds(30)}, stop));
  const json body = json::parse(response.body, nullptr, false);
  if (!body.is_array()) return absl::InternalError("the engine's list is not JSON");
  std::vector<std::string> ids;
  for (const json& item : body) {
    if (item.is_object()) ids.push_back(item.value("Id", std::string()));
  }
  return ids;
}

void WaitContainer(const Client& client,
                   const std::string& id,
                   std::function<void(absl::StatusOr<int>)> callback) {
  client.CallAsync({.method = Method::kPost,
                    .path = ContainerPath(id, "/wait?condition=not-running"),
                    .timeout = std::nullopt},
                   [callback = std::move(callback)](const absl::StatusOr<HttpResponse>& response) {
                     callback(ParseWait(response));
                   });
}

absl::Status KillContainer(const Client& client,
                           const std::string& id,
                           int signal,
                           const std::stop_token& stop) {
  return client
      .Call({.method = Method::kPost,
             .path = ContainerPath(id, fmt::format("/kill?signal={}", signal)),
             .timeout = std::chrono::seconds(20)},
            stop)
      .status();
}

absl::Status RemoveContainer(const Client& client,
                             const std::string& id,
                             const std::stop_token& stop) {
  absl::Status status = client
                            .Call({.method = Method::kDelete,
                                   .path = ContainerPath(id, "?force=true&v=true"),
                                   .timeout = kRemoveTimeout},
                                  stop)
                            .status();
  if (status.ok() || absl::IsNotFound(status)) return absl::OkStatus();
  if (base::Message(status).find("is already in progress") == std::string_view::npos) return status;
  return client
      .Call({.method = Method::kPost,
             .path = ContainerPath(id, "/wait?condition=removed"),
             .timeout = kRemoveTimeout},
            stop)
      .status();
}

std::string DemultiplexLog(std::string_view body) {
  // A frame: stream (1 byte, 0 to 2), three zero bytes, big-endian length, data.
  constexpr std::size_t kHeader = 8;
  std::string text;
  while (body.size() >= kHeader) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(body[i]); };
    if (byte(0) > 2) return text + std::string(body);  // a terminal's log has no frames
    const std::size_t size = (std::size_t{byte(4)} << 24) | (std::size_t{byte(5)} << 16) |
                             (std::size_t{byte(6)} << 8) | byte(7);
    body.remove_prefix(kHeader);
    text.append(body.substr(0, size));
    body.remove_prefix(std::min(size, body.size()));
  }
  return text;
}

absl::StatusOr<std::string> ContainerLogTail(const Client& client,
                                             const std::string& id,
                                             int lines,
                                             const std::stop_token& stop) {
  const std::string query = fmt::format("/logs?stdout=true&stderr=true&tail={}", lines);
  ASSIGN_OR_RETURN(const HttpResponse response,
                   client.Call({.path = ContainerPath(id, query)}, stop));
  std::string text = DemultiplexLog(response.body);
  if (text.size() > kMaxLogTail) text.erase(0, text.size() - kMaxLogTail);
  return text;
}

}  // namespace dstack::docker

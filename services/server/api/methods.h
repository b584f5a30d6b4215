#pragma once

#include <chrono>

#include "libs/rpc/gate.h"

// What the gate needs to know of each method.
namespace dstack::server::methods {

using rpc::Method;

inline constexpr std::chrono::hours kStreamTimeout{24 * 365};

inline constexpr Method kPlanRun{.name = "dstack.api.v1.RunService/PlanRun"};
inline constexpr Method kApplyRun{.name = "dstack.api.v1.RunService/ApplyRun"};
inline constexpr Method kGetRun{.name = "dstack.api.v1.RunService/GetRun"};
inline constexpr Method kListRuns{.name = "dstack.api.v1.RunService/ListRuns"};
inline constexpr Method kWatchRun{.name = "dstack.api.v1.RunService/WatchRun",
                                  .default_timeout = kStreamTimeout};
inline constexpr Method kStopRuns{.name = "dstack.api.v1.RunService/StopRuns"};
inline constexpr Method kDeleteRuns{.name = "dstack.api.v1.RunService/DeleteRuns"};

inline constexpr Method kStreamLogs{.name = "dstack.api.v1.LogService/StreamLogs",
                                    .default_timeout = kStreamTimeout};

inline constexpr Method kPlanFleet{.name = "dstack.api.v1.FleetService/PlanFleet"};
inline constexpr Method kApplyFleet{.name = "dstack.api.v1.FleetService/ApplyFleet"};
inline constexpr Method kGetFleet{.name = "dstack.api.v1.FleetService/GetFleet"};
inline constexpr Method kListFleets{.name = "dstack.api.v1.FleetService/ListFleets"};
inline constexpr Method kDeleteFleets{.name = "dstack.api.v1.FleetService/DeleteFleets"};

inline constexpr Method kListInstances{.name = "dstack.api.v1.InstanceService/ListInstances"};
inline constexpr Method kGetInstance{.name = "dstack.api.v1.InstanceService/GetInstance"};
inline constexpr Method kSetInstanceDrain{.name = "dstack.api.v1.InstanceService/SetInstanceDrain"};

inline constexpr Method kGetJobMetrics{.name = "dstack.api.v1.MetricsService/GetJobMetrics"};
inline constexpr Method kGetInstanceMetrics{.name =
                                                "dstack.api.v1.MetricsService/GetInstanceMetrics"};

inline constexpr Method kCreateProject{.name = "dstack.api.v1.ProjectService/CreateProject"};
inline constexpr Method kGetProject{.name = "dstack.api.v1.ProjectService/GetProject"};
inline constexpr Method kListProjects{.name = "dstack.api.v1.ProjectService/ListProjects"};

inline constexpr Method kGetMyUser{.name = "dstack.api.v1.UserService/GetMyUser"};
inline constexpr Method kGetMySshKey{.name = "dstack.api.v1.UserService/GetMySshKey"};
inline constexpr Method kCreateUser{.name = "dstack.api.v1.UserService/CreateUser"};
inline constexpr Method kListUsers{.name = "dstack.api.v1.UserService/ListUsers"};

inline constexpr Method kFindMissingFiles{.name = "dstack.api.v1.FileService/FindMissingFiles"};
inline constexpr Method kUploadFile{.name = "dstack.api.v1.FileService/UploadFile",
                                    .default_timeout = std::chrono::minutes(30)};

inline constexpr Method kGetServerInfo{.name = "dstack.api.v1.ServerService/GetServerInfo",
                                       .needs_identity = false};

}  // namespace dstack::server::methods

/** The methods of a shim, typed: containerd's Task service and berth's own additions. */
import * as own from "./gen/berth/shim/v1/shim.js";
import * as task from "./gen/containerd/task/v2/task.js";
import { Empty } from "./gen/google/protobuf/empty.js";
import { ttrpcMethod } from "./ttrpc/method.js";

const taskService = "containerd.task.v2.Task";
const shimService = "berth.shim.v1.Shim";

export const taskMethods = {
  state: ttrpcMethod(taskService, "State", task.StateRequest, task.StateResponse),
  create: ttrpcMethod(taskService, "Create", task.CreateTaskRequest, task.CreateTaskResponse),
  start: ttrpcMethod(taskService, "Start", task.StartRequest, task.StartResponse),
  delete: ttrpcMethod(taskService, "Delete", task.DeleteRequest, task.DeleteResponse),
  pids: ttrpcMethod(taskService, "Pids", task.PidsRequest, task.PidsResponse),
  pause: ttrpcMethod(taskService, "Pause", task.PauseRequest, Empty),
  resume: ttrpcMethod(taskService, "Resume", task.ResumeRequest, Empty),
  checkpoint: ttrpcMethod(taskService, "Checkpoint", task.CheckpointTaskRequest, Empty),
  kill: ttrpcMethod(taskService, "Kill", task.KillRequest, Empty),
  exec: ttrpcMethod(taskService, "Exec", task.ExecProcessRequest, Empty),
  resizePty: ttrpcMethod(taskService, "ResizePty", task.ResizePtyRequest, Empty),
  closeIo: ttrpcMethod(taskService, "CloseIO", task.CloseIORequest, Empty),
  update: ttrpcMethod(taskService, "Update", task.UpdateTaskRequest, Empty),
  wait: ttrpcMethod(taskService, "Wait", task.WaitRequest, task.WaitResponse),
  stats: ttrpcMethod(taskService, "Stats", task.StatsRequest, task.StatsResponse),
  connect: ttrpcMethod(taskService, "Connect", task.ConnectRequest, task.ConnectResponse),
  shutdown: ttrpcMethod(taskService, "Shutdown", task.ShutdownRequest, Empty),
};

export const shimMethods = {
  ping: ttrpcMethod(shimService, "Ping", own.PingRequest, own.PingResponse),
  list: ttrpcMethod(shimService, "List", own.ListRequest, own.ListResponse),
  stats: ttrpcMethod(shimService, "Stats", own.StatsRequest, own.StatsResponse),
};

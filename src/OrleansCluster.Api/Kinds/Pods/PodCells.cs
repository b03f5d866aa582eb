using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>
/// The cells of a pod's row (wire contract, section 8). STATUS is the most telling of many reasons: the pod's own, an init container's, a
/// container's, or that the pod is being deleted.
/// </summary>
internal static class PodCells
{
    public static void Write(JsonElement pod, DateTimeOffset now, TableRow row)
    {
        var spec = pod.Get("spec") ?? default;
        var status = pod.Get("status") ?? default;
        var summary = Summarize(pod, spec, status);
        row.AddName(pod);
        row.Add($"{summary.Ready}/{summary.Total}");
        row.Add(summary.Reason);
        row.Add(summary.LastRestart is { } last && summary.Restarts != 0
            ? $"{summary.Restarts} ({HumanDuration.Format(now - last)} ago)"
            : $"{summary.Restarts}");
        row.AddAge(pod, now);
        row.Add(TableCells.OrNone(PodIP(status)));
        row.Add(TableCells.OrNone(spec.Text("nodeName")));
        row.Add(TableCells.OrNone(status.Text("nominatedNodeName")));
        row.Add(ReadinessGates(spec, status));
        AddFinished(status, row);
    }

    /// <summary>The STATUS cell alone.</summary>
    public static string Reason(JsonElement pod) => Summarize(pod, pod.Get("spec") ?? default, pod.Get("status") ?? default).Reason;

    private static Summary Summarize(JsonElement pod, JsonElement spec, JsonElement status)
    {
        var summary = new Summary { Reason = status.Text("reason") is { Length: > 0 } reason ? reason : status.Text("phase") ?? "" };
        foreach (var condition in status.Items("conditions"))
        {
            if (condition.Text("type") == "PodScheduled" && condition.Text("reason") == "SchedulingGated")
                summary.Reason = "SchedulingGated";
        }
        var sidecars = new HashSet<string>(StringComparer.Ordinal);
        var initCount = 0;
        foreach (var container in spec.Items("initContainers"))
        {
            initCount++;
            if (container.Text("restartPolicy") == "Always")
                sidecars.Add(container.Text("name") ?? "");
        }
        summary.Total = spec.Count("containers") + sidecars.Count;

        var initializing = AddInitContainers(summary, status, sidecars, initCount);
        if (!initializing || IsTrue(status, "Initialized"))
            AddContainers(summary, status);

        if (pod.Text("metadata", "deletionTimestamp") is { Length: > 0 })
        {
            if (status.Text("reason") == "NodeLost")
                summary.Reason = "Unknown";
            else if (status.Text("phase") is not ("Succeeded" or "Failed"))
                summary.Reason = "Terminating";
        }
        return summary;
    }

    // In order; stops at the first init container that is not through.
    private static bool AddInitContainers(Summary summary, JsonElement status, HashSet<string> sidecars, int initCount)
    {
        var index = -1;
        foreach (var container in status.Items("initContainerStatuses"))
        {
            index++;
            var sidecar = sidecars.Contains(container.Text("name") ?? "");
            summary.Restarts += container.Number("restartCount");
            summary.NoteRestart(container);
            if (sidecar)
                summary.SidecarRestarts += container.Number("restartCount");
            var terminated = container.Get("state", "terminated");
            if (terminated is { } done && done.Number("exitCode") == 0)
                continue;
            if (sidecar && container.Get("started") is { ValueKind: JsonValueKind.True })
            {
                if (container.Get("ready") is { ValueKind: JsonValueKind.True })
                    summary.Ready++;
                continue;
            }
            var waiting = container.Get("state", "waiting")?.Text("reason");
            summary.Reason = terminated is { } failed
                ? "Init:" + (failed.Text("reason") is { Length: > 0 } why ? why : Exit(failed))
                : waiting is { Length: > 0 } and not "PodInitializing" ? "Init:" + waiting : $"Init:{index}/{initCount}";
            return true;
        }
        return false;
    }

    private static void AddContainers(Summary summary, JsonElement status)
    {
        summary.Restarts = summary.SidecarRestarts;
        var running = false;
        // From the last to the first: the first container's reason stays.
        foreach (var container in status.Items("containerStatuses").Reverse())
        {
            summary.Restarts += container.Number("restartCount");
            summary.NoteRestart(container);
            var waiting = container.Get("state", "waiting")?.Text("reason");
            var terminated = container.Get("state", "terminated");
            if (waiting is { Length: > 0 })
            {
                summary.Reason = waiting;
            }
            else if (terminated is { } ended)
            {
                summary.Reason = ended.Text("reason") is { Length: > 0 } why ? why : Exit(ended);
            }
            else if (container.Get("ready") is { ValueKind: JsonValueKind.True } && container.Get("state", "running") is not null)
            {
                running = true;
                summary.Ready++;
            }
        }
        if (summary.Reason == "Completed" && running)
            summary.Reason = IsTrue(status, "Ready") ? "Running" : "NotReady";
    }

    private static string Exit(JsonElement terminated) =>
        terminated.Number("signal") is not 0 and var signal ? $"Signal:{signal}" : $"ExitCode:{terminated.Number("exitCode")}";

    private static string? PodIP(JsonElement status)
    {
        foreach (var ip in status.Items("podIPs"))
            return ip.Text("ip");
        return status.Text("podIP");
    }

    private static string ReadinessGates(JsonElement spec, JsonElement status)
    {
        int total = 0, met = 0;
        foreach (var gate in spec.Items("readinessGates"))
        {
            total++;
            if (IsTrue(status, gate.Text("conditionType") ?? ""))
                met++;
        }
        return total == 0 ? "<none>" : $"{met}/{total}";
    }

    private static bool IsTrue(JsonElement status, string conditionType)
    {
        foreach (var condition in status.Items("conditions"))
        {
            if (condition.Text("type") == conditionType)
                return condition.Text("status") == "True";
        }
        return false;
    }

    private static void AddFinished(JsonElement status, TableRow row)
    {
        var (reason, message) = status.Text("phase") switch
        {
            "Succeeded" => ("Succeeded", "The pod has completed successfully."),
            "Failed" => ("Failed", "The pod failed."),
            _ => ("", ""),
        };
        if (reason.Length == 0)
            return;
        row.Conditions = new JsonArray(new JsonObject
        {
            ["type"] = "Completed",
            ["status"] = "True",
            ["reason"] = reason,
            ["message"] = message,
        });
    }

    private sealed class Summary
    {
        public string Reason { get; set; } = "";

        public int Ready { get; set; }

        public int Total { get; set; }

        public long Restarts { get; set; }

        public long SidecarRestarts { get; set; }

        public DateTimeOffset? LastRestart { get; private set; }

        public void NoteRestart(JsonElement container)
        {
            if (container.Get("lastState", "terminated")?.Text("finishedAt") is { } text && KubernetesTime.TryParse(text, out var finished)
                && (LastRestart is null || finished > LastRestart))
            {
                LastRestart = finished;
            }
        }
    }
}

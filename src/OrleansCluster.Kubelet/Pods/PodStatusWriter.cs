using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// Writes a status as the strategic merge patch of the status subresource: `conditions` merge by type, so other writers' conditions stay; the lists of
/// container statuses replace. The uid stands in the patch, so a pod of the same name made later refuses it.
/// </summary>
internal static class PodStatusWriter
{
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <param name="uid">The pod's uid.</param>
    /// <param name="status">What to write.</param>
    /// <param name="clearReasons">Condition types whose reason and message were set once: they are cleared explicitly.</param>
    /// <param name="clearPodIPs">The API may hold another pod IP: replace the list instead of merging it.</param>
    public static byte[] Write(string uid, PodStatusModel status, IReadOnlySet<string> clearReasons, bool clearPodIPs)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var writer = new Utf8JsonWriter(buffer, Options))
        {
            writer.WriteStartObject();
            writer.WriteStartObject("metadata"u8);
            writer.WriteString("uid"u8, uid);
            writer.WriteEndObject();
            writer.WriteStartObject("status"u8);
            WriteStatus(writer, status, clearReasons, clearPodIPs);
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        return buffer.WrittenSpan.ToArray();
    }

    private static void WriteStatus(Utf8JsonWriter writer, PodStatusModel status, IReadOnlySet<string> clearReasons, bool clearPodIPs)
    {
        writer.WriteString("phase"u8, status.Phase);
        WriteText(writer, "reason"u8, status.Reason);
        WriteText(writer, "message"u8, status.Message);
        writer.WriteStartArray("conditions"u8);
        foreach (var condition in status.Conditions)
        {
            writer.WriteStartObject();
            writer.WriteString("type"u8, condition.Type);
            writer.WriteString("status"u8, condition.Status ? "True"u8 : "False"u8);
            if (condition.Reason is not null)
                writer.WriteString("reason"u8, condition.Reason);
            else if (clearReasons.Contains(condition.Type))
                writer.WriteNull("reason"u8);
            if (condition.Message is not null)
                writer.WriteString("message"u8, condition.Message);
            else if (clearReasons.Contains(condition.Type))
                writer.WriteNull("message"u8);
            writer.WriteString("lastTransitionTime"u8, WireFormat.Time(condition.LastTransitionTime));
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
        if (status.HostIP is not null)
        {
            writer.WriteString("hostIP"u8, status.HostIP);
            WriteAddresses(writer, "hostIPs"u8, status.HostIP, replace: false);
        }
        if (status.PodIP is not null)
        {
            writer.WriteString("podIP"u8, status.PodIP);
            WriteAddresses(writer, "podIPs"u8, status.PodIP, clearPodIPs);
        }
        else if (clearPodIPs)
        {
            writer.WriteNull("podIP"u8);
            writer.WriteNull("podIPs"u8);
        }
        writer.WriteString("startTime"u8, WireFormat.Time(status.StartTime));
        WriteContainers(writer, "initContainerStatuses"u8, status, kind => kind is ContainerKind.Init or ContainerKind.Sidecar, always: false);
        WriteContainers(writer, "containerStatuses"u8, status, kind => kind is ContainerKind.Main, always: true);
        WriteContainers(writer, "ephemeralContainerStatuses"u8, status, kind => kind is ContainerKind.Ephemeral, always: false);
    }

    private static void WriteAddresses(Utf8JsonWriter writer, ReadOnlySpan<byte> name, string address, bool replace)
    {
        writer.WriteStartArray(name);
        if (replace)
        {
            writer.WriteStartObject();
            writer.WriteString("$patch"u8, "replace"u8);
            writer.WriteEndObject();
        }
        writer.WriteStartObject();
        writer.WriteString("ip"u8, address);
        writer.WriteEndObject();
        writer.WriteEndArray();
    }

    private static void WriteContainers(
        Utf8JsonWriter writer, ReadOnlySpan<byte> name, PodStatusModel status, Func<ContainerKind, bool> which, bool always)
    {
        var any = false;
        foreach (var container in status.Containers)
        {
            if (!which(container.Kind))
                continue;
            if (!any)
                writer.WriteStartArray(name);
            any = true;
            WriteContainer(writer, container);
        }
        if (!any && always)
            writer.WriteStartArray(name);
        if (any || always)
            writer.WriteEndArray();
    }

    private static void WriteContainer(Utf8JsonWriter writer, ContainerStatusModel container)
    {
        writer.WriteStartObject();
        writer.WriteString("name"u8, container.Name);
        writer.WriteStartObject("state"u8);
        if (container.Waiting is { } waiting)
        {
            writer.WriteStartObject("waiting"u8);
            writer.WriteString("reason"u8, waiting.Reason);
            if (waiting.Message is { } message)
                writer.WriteString("message"u8, message);
            writer.WriteEndObject();
        }
        else if (container.RunningSince is { } since)
        {
            writer.WriteStartObject("running"u8);
            writer.WriteString("startedAt"u8, WireFormat.Time(since));
            writer.WriteEndObject();
        }
        else if (container.Terminated is { } terminated)
        {
            WriteTerminated(writer, terminated);
        }
        writer.WriteEndObject();
        writer.WriteStartObject("lastState"u8);
        if (container.Last is { } last)
            WriteTerminated(writer, last);
        writer.WriteEndObject();
        writer.WriteBoolean("ready"u8, container.Ready);
        writer.WriteNumber("restartCount"u8, container.RestartCount);
        writer.WriteString("image"u8, container.Image);
        writer.WriteString("imageID"u8, container.ImageId);
        if (container.ContainerId is { } id)
            writer.WriteString("containerID"u8, id);
        writer.WriteBoolean("started"u8, container.Started);
        writer.WriteEndObject();
    }

    private static void WriteTerminated(Utf8JsonWriter writer, TerminatedDocument ended)
    {
        writer.WriteStartObject("terminated"u8);
        writer.WriteNumber("exitCode"u8, ended.ExitCode);
        if (ended.Signal != 0)
            writer.WriteNumber("signal"u8, ended.Signal);
        if (ended.Reason is { } reason)
            writer.WriteString("reason"u8, reason);
        if (!string.IsNullOrEmpty(ended.Message))
            writer.WriteString("message"u8, ended.Message);
        if (ended.StartedAt is { } started)
            writer.WriteString("startedAt"u8, WireFormat.Time(started));
        if (ended.FinishedAt is { } finished)
            writer.WriteString("finishedAt"u8, WireFormat.Time(finished));
        if (ended.ContainerId is { } id)
            writer.WriteString("containerID"u8, id);
        writer.WriteEndObject();
    }

    private static void WriteText(Utf8JsonWriter writer, ReadOnlySpan<byte> name, string? text)
    {
        if (text is null)
            writer.WriteNull(name);
        else
            writer.WriteString(name, text);
    }
}

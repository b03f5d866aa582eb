using System.Buffers;
using System.Text.Json;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Server;

/// <summary>CPU and memory of a node's containers, in the shape metrics collectors read from `/stats/summary`.</summary>
internal static class StatsSummary
{
    public static async Task<ReadOnlyMemory<byte>> WriteAsync(NodeAgent agent, TimeProvider time, CancellationToken cancellationToken)
    {
        var buffer = new ArrayBufferWriter<byte>(4096);
        await using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartObject();
        writer.WriteStartObject("node");
        writer.WriteString("nodeName", agent.Name);
        writer.WriteEndObject();
        writer.WriteStartArray("pods");
        foreach (var worker in agent.Workers())
        {
            writer.WriteStartObject();
            writer.WriteStartObject("podRef");
            writer.WriteString("name", worker.Identity.Name);
            writer.WriteString("namespace", worker.Identity.Namespace);
            writer.WriteString("uid", worker.Identity.Uid);
            writer.WriteEndObject();
            writer.WriteStartArray("containers");
            var streams = worker.Streams();
            foreach (var container in streams.Containers)
            {
                if (!container.Running || container.ContainerId is null)
                    continue;
                if (await streams.Runtime.GetStatsAsync(container.ContainerId, cancellationToken) is { } stats)
                    Write(writer, container.Name, stats);
            }
            writer.WriteEndArray();
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
        writer.WriteEndObject();
        await writer.FlushAsync(cancellationToken);
        return buffer.WrittenMemory;
    }

    private static void Write(Utf8JsonWriter writer, string name, ContainerStats stats)
    {
        writer.WriteStartObject();
        writer.WriteString("name", name);
        writer.WriteStartObject("cpu");
        writer.WriteString("time", WireFormat.Time(stats.Time));
        writer.WriteNumber("usageCoreNanoSeconds", stats.CpuNanoseconds);
        writer.WriteEndObject();
        writer.WriteStartObject("memory");
        writer.WriteString("time", WireFormat.Time(stats.Time));
        writer.WriteNumber("usageBytes", stats.MemoryUsageBytes);
        writer.WriteNumber("workingSetBytes", stats.MemoryWorkingSetBytes);
        writer.WriteEndObject();
        writer.WriteEndObject();
    }
}

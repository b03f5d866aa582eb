using System.Globalization;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Pods;

namespace OrleansCluster.Kubelet.Reporting;

/// <summary>What an event is about.</summary>
/// <param name="Kind">`Pod` or `Node`.</param>
/// <param name="Namespace">Its namespace; empty for a node, whose events are kept in `default`.</param>
/// <param name="Name">Its name.</param>
/// <param name="Uid">Its uid.</param>
/// <param name="FieldPath">Part of it, for instance `spec.containers{web}`, or null.</param>
internal sealed record EventSubject(string Kind, string Namespace, string Name, string Uid, string? FieldPath = null)
{
    public static EventSubject Of(PodDocument pod, ContainerRecord? container = null) => new(
        "Pod", pod.Metadata.Namespace, pod.Metadata.Name, pod.Uid, container is null ? null : container.Kind switch
        {
            ContainerKind.Init or ContainerKind.Sidecar => $"spec.initContainers{{{container.Name}}}",
            ContainerKind.Ephemeral => $"spec.ephemeralContainers{{{container.Name}}}",
            _ => $"spec.containers{{{container.Name}}}",
        });
}

/// <summary>Records Events of a node agent.</summary>
internal interface INodeEvents
{
    /// <summary>Never waits and never fails; what does not fit the bounded buffer is dropped, the oldest first.</summary>
    void Record(string node, EventSubject about, bool warning, string reason, string message);
}

/// <summary>
/// Writes Events best effort. Repeats of an event are counted in one object. Lanes by event keep the count of one event in order while different
/// events are written in parallel.
/// </summary>
internal sealed partial class NodeEvents : INodeEvents, IAsyncDisposable
{
    private const int Lanes = 4;
    private const int BufferPerLane = 2500;
    private const int RememberedPerLane = 1024;
    private const int MaxAttempts = 10;

    private readonly IControlPlane _controlPlane;
    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly Channel<Entry>[] _lanes = new Channel<Entry>[Lanes];
    private readonly CancellationTokenSource _stop = new();
    private Task[] _writers = [];

    public NodeEvents(IControlPlane controlPlane, TimeProvider time, Random random, ILogger<NodeEvents> logger)
    {
        _controlPlane = controlPlane;
        _time = time;
        _random = random;
        _logger = logger;
        for (var i = 0; i < Lanes; i++)
        {
            _lanes[i] = Channel.CreateBounded<Entry>(
                new BoundedChannelOptions(BufferPerLane) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
        }
    }

    public void Start() => _writers = [.. _lanes.Select(lane => Task.Run(() => WriteLaneAsync(lane.Reader, _stop.Token)))];

    public void Record(string node, EventSubject about, bool warning, string reason, string message)
    {
        var entry = new Entry(node, about, warning, reason, message, _time.GetUtcNow());
        _lanes[(uint)entry.Key.GetHashCode() % Lanes].Writer.TryWrite(entry);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var lane in _lanes)
            lane.Writer.TryComplete();
        await _stop.CancelAsync();
        await Task.WhenAll(_writers);
        _stop.Dispose();
    }

    private async Task WriteLaneAsync(ChannelReader<Entry> lane, CancellationToken cancellationToken)
    {
        var written = new Dictionary<EventKey, Written>();
        try
        {
            await foreach (var entry in lane.ReadAllAsync(cancellationToken))
            {
                try
                {
                    await WriteAsync(entry, written, cancellationToken);
                }
                catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
                {
                    Log.Lost(_logger, entry.Reason, entry.About.Namespace, entry.About.Name, exception.Message);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
    }

    private async Task WriteAsync(Entry entry, Dictionary<EventKey, Written> written, CancellationToken cancellationToken)
    {
        var @namespace = entry.About.Namespace.Length == 0 ? "default" : entry.About.Namespace;
        if (written.TryGetValue(entry.Key, out var before))
        {
            before.Count++;
            var patch = new JsonObject
            {
                ["count"] = before.Count,
                ["lastTimestamp"] = WireFormat.Time(entry.At),
            };
            var reply = await _controlPlane.ExecuteAsync(
                new ObjectKey("events", @namespace, before.Name), NodeRequests.Patch(entry.Node, patch), cancellationToken);
            if (reply.Code != 404)
                return;
            written.Remove(entry.Key);
        }

        if (written.Count >= RememberedPerLane)
            written.Clear();
        for (var attempt = 1; ; attempt++)
        {
            var uid = NodeRequests.NewUid(_random);
            var name = string.Create(CultureInfo.InvariantCulture, $"{entry.About.Name}.{uid.ToString("N")[..16]}");
            var body = Body(entry, @namespace, name);
            var created = await _controlPlane.ExecuteAsync(
                new ObjectKey("events", @namespace, name), NodeRequests.Create(entry.Node, body, uid), cancellationToken);
            if (created.IsSuccess)
            {
                written[entry.Key] = new Written(name);
                return;
            }
            // A name is taken when a run with a fixed seed is repeated.
            if (created.Code == 409 && attempt < MaxAttempts)
                continue;
            Log.Lost(_logger, entry.Reason, entry.About.Namespace, entry.About.Name, created.GetError()?.Message ?? "");
            return;
        }
    }

    private static JsonObject Body(Entry entry, string @namespace, string name)
    {
        var about = new JsonObject { ["kind"] = entry.About.Kind, ["apiVersion"] = "v1", ["name"] = entry.About.Name, ["uid"] = entry.About.Uid };
        if (entry.About.Namespace.Length > 0)
            about["namespace"] = entry.About.Namespace;
        if (entry.About.FieldPath is not null)
            about["fieldPath"] = entry.About.FieldPath;
        return new JsonObject
        {
            ["kind"] = "Event",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject { ["name"] = name, ["namespace"] = @namespace },
            ["involvedObject"] = about,
            ["reason"] = entry.Reason,
            ["message"] = entry.Message.Length > 1024 ? entry.Message[..1024] : entry.Message,
            ["source"] = new JsonObject { ["component"] = "kubelet", ["host"] = entry.Node },
            ["firstTimestamp"] = WireFormat.Time(entry.At),
            ["lastTimestamp"] = WireFormat.Time(entry.At),
            ["count"] = 1,
            ["type"] = entry.Warning ? "Warning" : "Normal",
            ["reportingComponent"] = "kubelet",
            ["reportingInstance"] = entry.Node,
        };
    }

    private sealed record Entry(string Node, EventSubject About, bool Warning, string Reason, string Message, DateTimeOffset At)
    {
        public EventKey Key => new(About, Warning, Reason, Message);
    }

    private sealed record EventKey(EventSubject About, bool Warning, string Reason, string Message);

    private sealed class Written(string name)
    {
        public string Name { get; } = name;

        public int Count { get; set; } = 1;
    }

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Debug, "Event {Reason} about {Namespace}/{Name} was lost: {Why}")]
        public static partial void Lost(ILogger logger, string reason, string @namespace, string name, string why);
    }
}

using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;

namespace OrleansCluster;

/// <summary>
/// Records Events in the background. Three rules keep a crash-looping world affordable: the buffer is bounded (a full one drops and counts),
/// a repeat of an event raises the count of the one object instead of making another, and one object's events pass a token bucket
/// (25 at once, one every five minutes after), the limits client-go uses.
/// </summary>
public sealed partial class EventRecorder : IEventRecorder, IAsyncDisposable
{
    /// <summary>Events waiting to be written; more are dropped.</summary>
    public const int BufferSize = 1000;

    /// <summary>Most distinct events remembered for counting; the oldest are forgotten and would start anew at 1.</summary>
    public const int RememberedEvents = 4096;

    private const double BucketBurst = 25;
    private static readonly TimeSpan BucketRefill = TimeSpan.FromMinutes(5);

    /// <summary>Longest head of an event's name: what a dot and sixteen digits leave of the 253 characters of a name.</summary>
    private const int MaxNameHead = 236;

    private readonly Channel<Entry> _entries;
    private long _dropped;
    private long _lastStamp;
    private readonly Dictionary<string, Known> _known = new(StringComparer.Ordinal);
    private readonly Queue<string> _knownOrder = new();
    private readonly Dictionary<string, Bucket> _buckets = new(StringComparer.Ordinal);
    private readonly Queue<string> _bucketOrder = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly ObjectWriter _writer;
    private readonly ResourceDefinition _events;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly string _component;
    private readonly string _host;
    private readonly Task _loop;

    private EventRecorder(ObjectWriter writer, ResourceRegistry registry, TimeProvider time, ILogger logger, string component, string host)
    {
        _writer = writer;
        _events = registry.Get("events");
        _time = time;
        _logger = logger;
        _component = component;
        _host = host;
        _entries = Channel.CreateBounded<Entry>(
            new BoundedChannelOptions(BufferSize) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true },
            _ => Interlocked.Increment(ref _dropped));
        _loop = Task.Run(() => RunAsync(_stop.Token));
    }

    /// <summary>Starts a recorder; its owner disposes it.</summary>
    /// <param name="writer">Writes the Event objects.</param>
    /// <param name="registry">Knows the Event resource.</param>
    /// <param name="time">Clock of the time stamps.</param>
    /// <param name="logger">Hears of events that could not be written.</param>
    /// <param name="component">`source.component`, e.g. `kubelet`.</param>
    /// <param name="host">`source.host`, or the empty string.</param>
    public static EventRecorder Start(
        ObjectWriter writer, ResourceRegistry registry, TimeProvider time, ILogger logger, string component, string host = "") =>
        new(writer, registry, time, logger, component, host);

    /// <inheritdoc/>
    public void Record(JsonObject about, string type, string reason, string message, string? fieldPath = null)
    {
        var metadata = about["metadata"] as JsonObject ?? [];
        var involved = new JsonObject
        {
            ["kind"] = (string?)about["kind"],
            ["apiVersion"] = (string?)about["apiVersion"],
            ["name"] = (string?)metadata["name"],
            ["uid"] = (string?)metadata["uid"],
        };
        if ((string?)metadata["namespace"] is { Length: > 0 } @namespace)
            involved["namespace"] = @namespace;
        if ((string?)metadata["resourceVersion"] is { } version)
            involved["resourceVersion"] = version;
        if (fieldPath is not null)
            involved["fieldPath"] = fieldPath;
        _entries.Writer.TryWrite(new Entry(involved, type, reason, message.Length > 1024 ? message[..1024] : message, _time.GetUtcNow()));
    }

    /// <summary>Stops after the event being written.</summary>
    public async ValueTask DisposeAsync()
    {
        _entries.Writer.TryComplete();
        await _stop.CancelAsync();
        await _loop;
        _stop.Dispose();
    }

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var entry in _entries.Reader.ReadAllAsync(cancellationToken))
            {
                if (Interlocked.Exchange(ref _dropped, 0) is > 0 and var dropped)
                    Log.EventsDropped(_logger, dropped, BufferSize);
                try
                {
                    await WriteAsync(entry, cancellationToken);
                }
                catch (Exception error) when (error is not OperationCanceledException)
                {
                    Log.EventLost(_logger, entry.Reason, (string?)entry.Involved["name"] ?? "", error.Message);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Stopping: events are best effort.
        }
    }

    private async Task WriteAsync(Entry entry, CancellationToken cancellationToken)
    {
        var about = $"{entry.Involved["kind"]}/{entry.Involved["namespace"]}/{entry.Involved["name"]}/{entry.Involved["uid"]}";
        if (!TakeToken(about, entry.At))
            return;
        var identity = $"{about}/{entry.Involved["fieldPath"]}/{entry.Type}/{entry.Reason}/{entry.Message}";
        var stamp = entry.At.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'");
        if (_known.TryGetValue(identity, out var known))
        {
            known.Count++;
            try
            {
                await _writer.PatchAsync(known.Key, new JsonObject { ["count"] = known.Count, ["lastTimestamp"] = stamp }, "", cancellationToken);
                return;
            }
            catch (StatusException error) when (error.Status.Code == 404)
            {
                // The event's time to live ran out; the next one starts anew.
                _known.Remove(identity);
            }
        }

        var @namespace = (string?)entry.Involved["namespace"] ?? "default";
        var name = Name((string?)entry.Involved["name"] ?? "", entry.At);
        var obj = new JsonObject
        {
            ["kind"] = "Event",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject { ["name"] = name, ["namespace"] = @namespace },
            ["involvedObject"] = entry.Involved,
            ["reason"] = entry.Reason,
            ["message"] = entry.Message,
            ["source"] = _host.Length == 0
                ? new JsonObject { ["component"] = _component }
                : new JsonObject { ["component"] = _component, ["host"] = _host },
            ["firstTimestamp"] = stamp,
            ["lastTimestamp"] = stamp,
            ["count"] = 1,
            ["type"] = entry.Type,
            ["eventTime"] = null,
            ["reportingComponent"] = _component,
            ["reportingInstance"] = _host,
        };
        await _writer.CreateAsync(_events, obj, cancellationToken);
        Remember(identity, new Known(_events.Key(@namespace, name)));
    }

    // Nanoseconds since 1970, raised where two events share a tick: the name tells them apart.
    private string Name(string about, DateTimeOffset at)
    {
        _lastStamp = Math.Max(_lastStamp + 1, (at.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) * 100);
        return $"{(about.Length > MaxNameHead ? about[..MaxNameHead].TrimEnd('.', '-') : about)}.{_lastStamp:x16}";
    }

    private void Remember(string identity, Known known)
    {
        if (_known.TryAdd(identity, known))
            _knownOrder.Enqueue(identity);
        while (_knownOrder.Count > RememberedEvents)
            _known.Remove(_knownOrder.Dequeue());
    }

    private bool TakeToken(string about, DateTimeOffset now)
    {
        if (!_buckets.TryGetValue(about, out var bucket))
        {
            _buckets.Add(about, bucket = new Bucket { Tokens = BucketBurst, At = now });
            _bucketOrder.Enqueue(about);
            while (_bucketOrder.Count > RememberedEvents)
                _buckets.Remove(_bucketOrder.Dequeue());
        }
        bucket.Tokens = Math.Min(BucketBurst, bucket.Tokens + ((now - bucket.At) / BucketRefill));
        bucket.At = now;
        if (bucket.Tokens < 1)
            return false;
        bucket.Tokens--;
        return true;
    }

    private sealed record Entry(JsonObject Involved, string Type, string Reason, string Message, DateTimeOffset At);

    private sealed class Known(ObjectKey key)
    {
        public ObjectKey Key { get; } = key;

        public int Count { get; set; } = 1;
    }

    private sealed class Bucket
    {
        public double Tokens { get; set; }

        public DateTimeOffset At { get; set; }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "{Count} events were dropped: more than {BufferSize} waited to be written")]
        public static partial void EventsDropped(ILogger logger, long count, int bufferSize);

        [LoggerMessage(LogLevel.Debug, "Event {Reason} about {Name} was not recorded: {Error}")]
        public static partial void EventLost(ILogger logger, string reason, string name, string error);
    }
}

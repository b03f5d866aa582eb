using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>Settings of <see cref="ExpirySweeper"/>.</summary>
public sealed class ExpirySweeperOptions
{
    /// <summary>How often expired objects are looked for. Default 10 s, range 0.1 s to 10 min. An object may outlive its time by this much.</summary>
    public TimeSpan Interval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Most removals in one call to the store. Default 256, range 1 to 4,096.</summary>
    public int BatchSize { get; set; } = 256;
}

/// <summary>Checks <see cref="ExpirySweeperOptions"/> when the host starts.</summary>
public sealed class ExpirySweeperOptionsValidator : IValidateOptions<ExpirySweeperOptions>
{
    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, ExpirySweeperOptions options)
    {
        List<string> errors = [];
        if (options.Interval < TimeSpan.FromMilliseconds(100) || options.Interval > TimeSpan.FromMinutes(10))
            errors.Add($"ExpirySweeper:Interval is {options.Interval}; it must lie between 0.1 s and 10 min.");
        if (options.BatchSize is < 1 or > 4096)
            errors.Add($"ExpirySweeper:BatchSize is {options.BatchSize}; it must lie between 1 and 4096.");
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}

/// <summary>
/// Removes objects of kinds with a time to live (events) once it has passed since their last write. Expiry is an ordinary removal through the store,
/// with the revision expected, so watchers see it and a write in between wins. When an object was written is what this process saw; for those
/// already there when it started, the latest of the object's own timestamps. Several silos may sweep: one removes, the others get a conflict.
/// </summary>
public sealed partial class ExpirySweeper(
    ResourceRegistry registry, IResourceCaches caches, IObjectStore store, IOptions<ExpirySweeperOptions> options, TimeProvider time,
    ILogger<ExpirySweeper> logger) : BackgroundService
{
    private readonly List<Lane> _lanes = [];

    /// <summary>Entries waiting for their time, outdated ones included; for tests.</summary>
    internal int Waiting => _lanes.Sum(l => l.Waiting);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        Follow();
        if (_lanes.Count == 0)
            return;
        using var timer = new PeriodicTimer(options.Value.Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
                await SweepAsync(stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The host is stopping.
        }
        finally
        {
            foreach (var lane in _lanes)
                lane.Dispose();
        }
    }

    /// <summary>Begins to follow the kinds with a time to live.</summary>
    internal void Follow()
    {
        foreach (var definition in registry.All)
        {
            if (definition.TimeToLive is { } timeToLive)
                _lanes.Add(new Lane(timeToLive, caches.Get(definition.Resource), time));
        }
    }

    /// <summary>Removes what has expired by now.</summary>
    internal async Task SweepAsync(CancellationToken cancellationToken)
    {
        foreach (var lane in _lanes)
            await SweepAsync(lane, cancellationToken);
    }

    private async Task SweepAsync(Lane lane, CancellationToken cancellationToken)
    {
        try
        {
            var snapshot = await lane.Cache.GetSnapshotAsync(cancellationToken);
            while (lane.TakeExpired(snapshot, options.Value.BatchSize) is { Count: > 0 } expired)
            {
                var commits = new List<Commit>(expired.Count);
                foreach (var obj in expired)
                {
                    commits.Add(new Commit
                    {
                        Resource = obj.Key.Resource,
                        Key = obj.Key.StorageKey,
                        Kind = CommitKind.Delete,
                        Value = CanonicalJson.Serialize(CanonicalJson.Parse(obj.Bytes.Span)),
                        ExpectedRevision = obj.Revision,
                    });
                }
                await store.CommitAsync(commits, cancellationToken);
            }
        }
        catch (StoreUnavailableException e)
        {
            // The lane has forgotten this batch; reading the whole snapshot again brings it back.
            lane.Reload();
            Log.SweepFailed(logger, e, lane.Cache.Definition.Resource, options.Value.Interval);
        }
    }

    /// <summary>One kind: its objects in the order in which they expire.</summary>
    private sealed class Lane : IDisposable
    {
        private readonly TimeSpan _timeToLive;
        private readonly TimeProvider _time;
        private readonly Lock _gate = new();
        private readonly PriorityQueue<(ObjectKey Key, long Revision), DateTimeOffset> _due = new();
        private readonly IDisposable _subscription;
        private bool _mustLoad;

        public Lane(TimeSpan timeToLive, IResourceCache cache, TimeProvider time)
        {
            _timeToLive = timeToLive;
            _time = time;
            Cache = cache;
            _subscription = cache.Subscribe(OnChanges);
        }

        public IResourceCache Cache { get; }

        public int Waiting
        {
            get
            {
                lock (_gate)
                    return _due.Count;
            }
        }

        public void Reload()
        {
            lock (_gate)
                _mustLoad = true;
        }

        /// <summary>Objects whose time has passed and that have not been written since; at most a batch.</summary>
        public List<ICachedObject> TakeExpired(ICacheSnapshot snapshot, int maxCount)
        {
            var now = _time.GetUtcNow();
            List<ICachedObject> expired = [];
            lock (_gate)
            {
                if (_mustLoad)
                {
                    _mustLoad = false;
                    // What is already queued stays: it may be newer than the snapshot. An object queued twice is found once.
                    foreach (var obj in snapshot.Enumerate())
                        _due.Enqueue((obj.Key, obj.Revision), LastTimestamp(obj, now) + _timeToLive);
                }
                while (expired.Count < maxCount && _due.TryPeek(out var item, out var at) && at <= now)
                {
                    _due.Dequeue();
                    // A newer revision has an entry of its own.
                    if (snapshot.Find(item.Key.Namespace, item.Key.Name) is { } obj && obj.Revision == item.Revision)
                        expired.Add(obj);
                }
            }
            return expired;
        }

        public void Dispose() => _subscription.Dispose();

        private void OnChanges(IReadOnlyList<CacheChange> changes, bool all)
        {
            var due = _time.GetUtcNow() + _timeToLive;
            lock (_gate)
            {
                _mustLoad |= all;
                foreach (var change in changes)
                {
                    if (change.Type != ChangeType.Deleted)
                        _due.Enqueue((change.Object.Key, change.Revision), due);
                }
            }
        }

        private static DateTimeOffset LastTimestamp(ICachedObject obj, DateTimeOffset now)
        {
            DateTimeOffset? last = null;
            using var document = JsonDocument.Parse(obj.Bytes);
            var root = document.RootElement;
            if (root.TryGetProperty("metadata", out var metadata))
                Consider(metadata, "creationTimestamp");
            Consider(root, "lastTimestamp");
            Consider(root, "eventTime");
            if (root.TryGetProperty("series", out var series))
                Consider(series, "lastObservedTime");
            return last ?? now;

            void Consider(JsonElement parent, string member)
            {
                if (parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(member, out var value)
                    && value.ValueKind == JsonValueKind.String && value.TryGetDateTimeOffset(out var at) && (last is null || at > last))
                {
                    last = at;
                }
            }
        }
    }

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Warning, "Removing expired {Resource} failed; it is tried again in {Interval}.")]
        public static partial void SweepFailed(ILogger logger, Exception exception, string resource, TimeSpan interval);
    }
}

using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// Turns the change logs of one controller's resources into runs of its reconcile grains.
/// <code>
///   cache watchers ──► Map: whom does this change concern? ──► items, one per object ──► up to 64 grain calls ──► acknowledge
///   (one per resource)                                          idle → ready → running → (ready | delayed | gone)
/// </code>
/// An item coalesces: however many changes arrive while its run is under way, one more run follows. A change is acknowledged once a run that
/// has seen its revision has settled; the acknowledged revision is stored per resource, and a pump that takes over after a crash reads the
/// log from there (this is how removals are not missed) and walks the present objects once (this is how timed requeues are not missed).
/// Bound: one item per object of the controller, so never more than the objects that exist.
/// </summary>
public sealed partial class ControllerPump
{
    /// <summary>Runs of one controller at a time. Beyond this the store's group commit gains nothing more.</summary>
    private const int MaxParallelRuns = 64;

    private static readonly TimeSpan AcknowledgeInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MaxWait = TimeSpan.FromHours(1); // A timer takes no more than some weeks.
    private static readonly TimeSpan MaxFollowPause = TimeSpan.FromSeconds(10);

    private readonly IController _controller;
    private readonly IResourceCaches _caches;
    private readonly IObjectStore _store;
    private readonly IGrainFactory _grains;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly List<WakeSource> _sources;

    // The only lock; never held across an await. Guards everything below.
    private readonly Lock _gate = new();
    private readonly Dictionary<ObjectKey, PumpItem> _items = [];
    private readonly Queue<PumpItem> _ready = new();
    private readonly PriorityQueue<(PumpItem Item, DateTimeOffset Due), DateTimeOffset> _delayed = new();
    private readonly Dictionary<string, long> _read = new(StringComparer.Ordinal);
    private TaskCompletionSource _signal = NewSignal();
    private int _running;
    private long _progress;
    private readonly Dictionary<string, long> _acknowledged = new(StringComparer.Ordinal);

    /// <summary>Makes a pump; <see cref="RunAsync"/> does the work.</summary>
    public ControllerPump(
        IController controller, IResourceCaches caches, IObjectStore store, IGrainFactory grains, TimeProvider time, ILogger logger)
    {
        _controller = controller;
        Label = new KeyValuePair<string, object?>("name", controller.Name);
        _caches = caches;
        _store = store;
        _grains = grains;
        _time = time;
        _logger = logger;
        List<WakeSource> sources = [.. controller.WakeSources];
        if (controller.WakesOnOwnResource)
            sources.Insert(0, new WakeSource(controller.Resource, Self));
        // One follower per resource: what is acknowledged is kept per resource, so two with a pace of their own would speak for each other.
        _sources = [.. sources.GroupBy(s => s.Resource, StringComparer.Ordinal).Select(Merge)];
    }

    /// <summary>The controller's name.</summary>
    internal string Controller => _controller.Name;

    /// <summary>The label of its metrics.</summary>
    internal KeyValuePair<string, object?> Label { get; }

    private string Group => "controller/" + _controller.Name;

    /// <summary>Pumps until cancelled. Throws if a part of it fails for good; a new pump takes over from what has been acknowledged.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        // A part that fails takes the others with it: half a pump would look alive and wake nobody.
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        List<Task> tasks = [.. _sources.Select(source => FollowAsync(source, stop.Token)), DispatchAsync(stop.Token), AcknowledgeAsync(stop.Token)];
        var first = await Task.WhenAny(tasks);
        await stop.CancelAsync();
        await Task.WhenAll(tasks).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (cancellationToken.IsCancellationRequested)
            return;
        if (first.Exception is { } error)
            Log.Broken(_logger, _controller.Name, error.GetBaseException());
        await first;
    }

    /// <summary>Where it stands now.</summary>
    internal PumpState State()
    {
        lock (_gate)
        {
            var hasWork = _ready.Count + _running > 0;
            var lag = new List<(string, long)>(_sources.Count);
            foreach (var source in _sources)
            {
                var newest = _caches.Get(source.Resource).Current?.Revision ?? 0;
                hasWork |= newest > _read.GetValueOrDefault(source.Resource);
                lag.Add((source.Resource, Math.Max(0, newest - _acknowledged.GetValueOrDefault(source.Resource))));
            }
            var delayed = _items.Values.Count(static i => i.State == PumpItemState.Delayed);
            return new PumpState(_ready.Count, _running, delayed, _progress, hasWork, lag);
        }
    }

    private static WakeSource Merge(IGrouping<string, WakeSource> sources)
    {
        var maps = sources.Select(s => s.Map).ToArray();
        return maps.Length == 1 ? sources.First() : new WakeSource(sources.Key, wake => maps.SelectMany(map => map(wake)).Distinct());
    }

    private static IEnumerable<ObjectKey> Self(WakeEvent wake) => [wake.Object.Key];

    /// <summary>Follows one resource for ever; every failure starts over with the whole state, after a pause.</summary>
    private async Task FollowAsync(WakeSource source, CancellationToken cancellationToken)
    {
        var pause = TimeSpan.FromMilliseconds(100);
        while (true)
        {
            try
            {
                await FollowOnceAsync(source, cancellationToken);
            }
            catch (CompactedException)
            {
                Log.Behind(_logger, _controller.Name, source.Resource);
            }
            catch (Exception error) when (error is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
            {
                Log.FollowFailed(_logger, _controller.Name, source.Resource, error);
                await Task.Delay(pause, _time, cancellationToken);
                pause = TimeSpan.FromTicks(Math.Min(pause.Ticks * 2, MaxFollowPause.Ticks));
            }
        }
    }

    private async Task FollowOnceAsync(WakeSource source, CancellationToken cancellationToken)
    {
        // Maps may look into any cache of the controller, so all of them are filled before the first change is mapped.
        foreach (var other in _sources)
            await _caches.Get(other.Resource).GetSnapshotAsync(cancellationToken);
        var cache = _caches.Get(source.Resource);
        var snapshot = await cache.GetSnapshotAsync(cancellationToken);
        using var watcher = cache.Watch(snapshot.Revision);
        await ReplayRemovalsAsync(source, cache, snapshot.Revision, cancellationToken);
        foreach (var obj in snapshot.Enumerate())
            Wake(source, new WakeEvent(obj, null, Removed: false), snapshot.Revision);
        MarkRead(source.Resource, snapshot.Revision);
        while (true)
        {
            foreach (var change in await watcher.ReadAsync(cancellationToken))
            {
                Wake(source, new WakeEvent(change.Object, change.Previous, change.Type == ChangeType.Deleted), change.Revision);
                MarkRead(source.Resource, change.Revision);
            }
        }
    }

    /// <summary>Objects removed since the last acknowledged revision are in no snapshot; the log still knows them.</summary>
    private async Task ReplayRemovalsAsync(WakeSource source, IResourceCache cache, long through, CancellationToken cancellationToken)
    {
        if (await _store.GetAcknowledgedAsync(source.Resource, Group, cancellationToken) is not { } position)
        {
            // The group's first pump: what is removed from here on concerns it, and must be found by a successor even if this one dies at once.
            // What exists needs no word, a successor walks it.
            await _store.AcknowledgeAsync(source.Resource, Group, through, cancellationToken);
            return;
        }
        try
        {
            while (position < through)
            {
                var page = await _store.ReadChangesAsync(source.Resource, position, 500, TimeSpan.Zero, cancellationToken);
                if (page.Count == 0)
                    return;
                foreach (var change in page)
                {
                    position = change.Revision;
                    if (change.Kind == CommitKind.Delete && change.Revision <= through)
                        Wake(source, new WakeEvent(CachedObjects.Create(cache.Definition, change), null, Removed: true), through);
                }
            }
        }
        catch (CompactedException)
        {
            // Away for longer than the log reaches back: what depended on removed objects is still found by walking what exists.
        }
    }

    private void Wake(WakeSource source, WakeEvent wake, long revision)
    {
        List<ObjectKey> keys;
        try
        {
            keys = [.. source.Map(wake)];
        }
        catch (Exception error)
        {
            Log.MapFailed(_logger, _controller.Name, wake.Object.Key, error);
            return;
        }
        lock (_gate)
        {
            foreach (var key in keys)
            {
                if (!_items.TryGetValue(key, out var item))
                    _items.Add(key, item = new PumpItem(key));
                item.Note(source.Resource, revision);
                Schedule(item);
            }
        }
    }

    // Caller holds _gate. Makes an item ready: now, or when its least interval or its back-off has passed.
    private void Schedule(PumpItem item)
    {
        if (item.State is PumpItemState.Running or PumpItemState.Ready)
            return;
        var earliest = item.LastRun + _controller.MinInterval;
        if (item.NotBefore > earliest)
            earliest = item.NotBefore;
        if (item.State == PumpItemState.Delayed && item.Due <= earliest)
            return;
        if (earliest > _time.GetUtcNow())
        {
            Delay(item, earliest);
            return;
        }
        MakeReady(item);
        _signal.TrySetResult();
    }

    // Caller holds _gate.
    private void MakeReady(PumpItem item)
    {
        item.State = PumpItemState.Ready;
        item.ReadySince = _time.GetTimestamp();
        _ready.Enqueue(item);
        ControlPlaneTelemetry.QueueAdds.Add(1, Label);
    }

    // Caller holds _gate.
    private void Delay(PumpItem item, DateTimeOffset due)
    {
        item.State = PumpItemState.Delayed;
        item.Due = due;
        _delayed.Enqueue((item, due), due);
        // An item that was woken before its time leaves its entry behind. Before those outnumber the others, the queue is made anew.
        if (_delayed.Count > 64 + (2 * _items.Count))
        {
            var live = _delayed.UnorderedItems.Where(e => e.Element.Item.State == PumpItemState.Delayed && e.Element.Item.Due == e.Priority).Distinct().ToList();
            _delayed.Clear();
            _delayed.EnqueueRange(live);
        }
        _signal.TrySetResult();
    }

    private async Task DispatchAsync(CancellationToken cancellationToken)
    {
        var runs = new HashSet<Task>();
        try
        {
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                runs.RemoveWhere(run => run.IsCompleted);
                TimeSpan? wait;
                Task signal;
                lock (_gate)
                {
                    if (_signal.Task.IsCompleted)
                        _signal = NewSignal();
                    signal = _signal.Task;
                    PromoteDue();
                    while (_running < MaxParallelRuns && _ready.TryDequeue(out var item))
                    {
                        item.State = PumpItemState.Running;
                        _running++;
                        ControlPlaneTelemetry.QueueDuration.Record(_time.GetElapsedTime(item.ReadySince).TotalSeconds, Label);
                        runs.Add(RunItemAsync(item, item.TakeSeen(), cancellationToken));
                    }
                    wait = _delayed.TryPeek(out _, out var next) ? next - _time.GetUtcNow() : null;
                }
                await WaitAsync(signal, wait, cancellationToken);
            }
        }
        finally
        {
            await Task.WhenAll(runs);
        }
    }

    private async Task WaitAsync(Task signal, TimeSpan? due, CancellationToken cancellationToken)
    {
        if (due is null)
            await signal.WaitAsync(cancellationToken);
        else if (due > TimeSpan.Zero)
            await signal.WaitAsync(due < MaxWait ? due.Value : MaxWait, _time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    // Caller holds _gate. Entries of items that have moved on in the meantime are passed over.
    private void PromoteDue()
    {
        var now = _time.GetUtcNow();
        while (_delayed.TryPeek(out var entry, out var due) && due <= now)
        {
            _delayed.Dequeue();
            if (entry.Item.State != PumpItemState.Delayed || entry.Item.Due != entry.Due)
                continue;
            MakeReady(entry.Item);
        }
    }

    private async Task RunItemAsync(PumpItem item, SeenRevision[] seen, CancellationToken cancellationToken)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding); // The caller holds _gate.
        var begun = _time.GetTimestamp();
        ReconcileReply reply;
        try
        {
            reply = await _grains.GetGrain<IReconcileGrain>($"{_controller.Name}|{item.Key}").ReconcileAsync(seen, cancellationToken);
        }
        catch (Exception error)
        {
            if (!cancellationToken.IsCancellationRequested)
                Log.CallFailed(_logger, _controller.Name, item.Key, error.Message);
            reply = new ReconcileReply { Settled = false, RequeueAfter = TimeSpan.FromSeconds(1) };
        }
        ControlPlaneTelemetry.WorkDuration.Record(_time.GetElapsedTime(begun).TotalSeconds, Label);
        if (!reply.Settled)
            ControlPlaneTelemetry.QueueRetries.Add(1, Label);
        lock (_gate)
        {
            _running--;
            _progress++;
            Finish(item, reply);
            _signal.TrySetResult();
        }
    }

    // Caller holds _gate.
    private void Finish(PumpItem item, ReconcileReply reply)
    {
        item.State = PumpItemState.Idle;
        item.LastRun = _time.GetUtcNow();
        if (!reply.Settled)
        {
            item.Unsettle();
            item.NotBefore = item.LastRun + (reply.RequeueAfter ?? TimeSpan.FromSeconds(1));
            Schedule(item);
            return;
        }
        item.Settle();
        item.NotBefore = default;
        if (item.IsDirty)
            Schedule(item);
        else if (reply.RequeueAfter is { } after)
            Delay(item, item.LastRun + after);
        else if (_controller.MinInterval == TimeSpan.Zero)
            _items.Remove(item.Key);
        // Else it stays, idle, so that its next change finds when it last ran, until the least interval is over.
    }

    private async Task AcknowledgeAsync(CancellationToken cancellationToken)
    {
        var written = new Dictionary<string, long>(StringComparer.Ordinal);
        using var timer = new PeriodicTimer(AcknowledgeInterval, _time);
        while (await timer.WaitForNextTickAsync(cancellationToken))
        {
            foreach (var (resource, revision) in Acknowledgeable())
            {
                if (written.GetValueOrDefault(resource) == revision)
                    continue;
                try
                {
                    await _store.AcknowledgeAsync(resource, Group, revision, cancellationToken);
                    written[resource] = revision;
                    lock (_gate)
                        _acknowledged[resource] = revision;
                }
                catch (Exception error) when (!cancellationToken.IsCancellationRequested)
                {
                    Log.AcknowledgeFailed(_logger, _controller.Name, error.Message);
                }
            }
        }
    }

    private Dictionary<string, long> Acknowledgeable()
    {
        lock (_gate)
        {
            DropIdle();
            var floors = new Dictionary<string, long>(_read, StringComparer.Ordinal);
            foreach (var item in _items.Values)
            {
                foreach (var (resource, oldest) in item.Unsettled())
                {
                    if (floors.TryGetValue(resource, out var floor) && oldest - 1 < floor)
                        floors[resource] = oldest - 1;
                }
            }
            return floors;
        }
    }

    // Caller holds _gate. Idle items are kept for the least interval only.
    private void DropIdle()
    {
        if (_controller.MinInterval == TimeSpan.Zero)
            return;
        var before = _time.GetUtcNow() - _controller.MinInterval;
        foreach (var (key, item) in _items)
        {
            if (item.State == PumpItemState.Idle && item.LastRun < before)
                _items.Remove(key);
        }
    }

    private void MarkRead(string resource, long revision)
    {
        lock (_gate)
        {
            _progress++;
            _read[resource] = Math.Max(_read.GetValueOrDefault(resource), revision);
        }
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}

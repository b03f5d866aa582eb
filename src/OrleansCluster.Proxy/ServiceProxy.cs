using System.Collections.Immutable;
using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy;

/// <summary>What the proxy has done so far.</summary>
/// <param name="Backend">The way in use: Nftables or UserSpace; Auto before it was chosen.</param>
/// <param name="HasSynced">True once the rules of a complete set are in force.</param>
/// <param name="IsFeedConnected">True while the feed delivers; false while the last known rules are kept without it.</param>
/// <param name="Syncs">Number of successful syncs.</param>
/// <param name="Failures">Number of failed ones.</param>
/// <param name="FeedFailures">How often the feed ended or broke.</param>
/// <param name="LastSyncDuration">How long the last successful sync took, rule computation included.</param>
/// <param name="LastSync">When it ended.</param>
/// <param name="ServicePorts">Number of service ports in force.</param>
/// <param name="Endpoints">Number of their endpoints.</param>
/// <param name="LastError">Why the last sync failed; null after a success.</param>
public sealed record ServiceProxyStatus(
    ServiceProxyMode Backend, bool HasSynced, bool IsFeedConnected, long Syncs, long Failures, long FeedFailures, TimeSpan LastSyncDuration,
    DateTimeOffset? LastSync, int ServicePorts, int Endpoints, string? LastError);

/// <summary>
/// Keeps the host's service rules equal to the cluster's Services and EndpointSlices.
/// <code>
/// feed ──batches──► index (what should be) ──wake-up──► sync loop ──rules──► backend (what is)
/// </code>
/// Two loops share only the index. The reading loop records levels and wakes the other, so a slow or failing backend
/// never delays reading, and a burst of changes becomes one sync. The sync loop waits at least
/// <see cref="ServiceProxyOptions.MinSyncInterval"/> between two syncs, retries failures with a growing pause, and
/// looks now and then whether the host still is as it left it. Nothing is applied before the first complete set, so a
/// restart never tears down rules that work; and when the feed is lost, the last rules stay.
/// </summary>
public sealed partial class ServiceProxy : BackgroundService
{
    private readonly IServiceFeed _feed;
    private readonly IProxyBackendSelector _selector;
    private readonly ServiceProxyOptions _options;
    private readonly TimeProvider _timeProvider;
    private readonly Random _random;
    private readonly ILogger<ServiceProxy> _logger;

    // Guards _index, _isComplete and _status; held for computation only, never across an await.
    private readonly Lock _lock = new();
    private readonly ServiceIndex _index;
    private readonly SemaphoreSlim _wake = new(0, 1);
    private bool _isComplete;
    private IProxyBackend? _backend;
    private ServiceProxyStatus _status = new(ServiceProxyMode.Auto, false, false, 0, 0, 0, TimeSpan.Zero, null, 0, 0, null);

    /// <summary>Creates the proxy; it starts with the host.</summary>
    /// <param name="feed">Where Services and EndpointSlices come from.</param>
    /// <param name="selector">Chooses how rules are brought into force.</param>
    /// <param name="options">Settings.</param>
    /// <param name="timeProvider">The clock.</param>
    /// <param name="random">Source of jitter; used by this proxy alone.</param>
    /// <param name="logger">The log.</param>
    public ServiceProxy(
        IServiceFeed feed, IProxyBackendSelector selector, IOptions<ServiceProxyOptions> options, TimeProvider timeProvider, Random random,
        ILogger<ServiceProxy> logger)
    {
        ArgumentNullException.ThrowIfNull(options);
        _feed = feed;
        _selector = selector;
        _options = options.Value;
        _timeProvider = timeProvider;
        _random = random;
        _logger = logger;
        _index = new ServiceIndex(_options.NodeNames.ToHashSet(StringComparer.Ordinal));
    }

    /// <summary>A consistent copy of the counters. Thread-safe.</summary>
    public ServiceProxyStatus Status
    {
        get
        {
            lock (_lock)
                return _status;
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var (mode, backend) = await _selector.SelectAsync(stoppingToken);
        _backend = backend;
        Update(s => s with { Backend = mode });

        // If one loop fails for a reason that it does not know, the other ends too and the host hears of it.
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
        var loops = new[] { ReadAsync(both.Token), SyncAsync(backend, both.Token) };
        await Task.WhenAny(loops);
        await both.CancelAsync();
        await Task.WhenAll(loops);
    }

    /// <summary>Stops both loops, drains listeners and, if so configured, removes all rules.</summary>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        if (_backend is not { } backend)
            return;
        if (_options.RemoveOnStop)
            await backend.RemoveAsync(cancellationToken);
        else
            await backend.StopAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _wake.Dispose();
        base.Dispose();
    }

    private async Task ReadAsync(CancellationToken stopping)
    {
        var backoff = new Backoff(_options.RetryDelay, _options.MaxRetryDelay, _random);
        while (!stopping.IsCancellationRequested)
        {
            Exception? cause = null;
            try
            {
                await foreach (var batch in _feed.ReadAsync(stopping))
                {
                    Record(batch);
                    backoff.Reset();
                }
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // Whatever the source throws, the remedy is the same: keep the rules, read again.
                cause = e;
            }

            TimeSpan pause;
            lock (_lock)
            {
                _status = _status with { IsFeedConnected = false, FeedFailures = _status.FeedFailures + 1 };
                pause = backoff.Next();
            }

            Log.FeedLost(_logger, pause, cause);
            if (!await DelayAsync(pause, stopping))
                return;
        }
    }

    private void Record(ServiceFeedBatch batch)
    {
        var services = new HashSet<ServiceIndex.ObjectKey>();
        var slices = new HashSet<ServiceIndex.ObjectKey>();
        lock (_lock)
        {
            foreach (var item in batch.Items)
            {
                var key = new ServiceIndex.ObjectKey(item.Namespace, item.Name);
                (item.Resource == ServiceFeedResource.Service ? services : slices).Add(key);
                try
                {
                    if (item.Resource == ServiceFeedResource.Service)
                        _index.SetService(key, item.IsDeleted ? null : ServiceView.Parse(item.Object));
                    else
                        _index.SetSlice(key, item.IsDeleted ? null : EndpointSliceView.Parse(item.Object));
                }
                catch (JsonException e)
                {
                    // The API server stores no such object; its last good state is better than none.
                    Log.Malformed(_logger, item.Resource, item.Namespace, item.Name, e);
                }
            }

            if (batch.IsComplete)
                _index.RetainOnly(services, slices);
            _isComplete |= batch.IsComplete;
            _status = _status with { IsFeedConnected = true };
            if (!_isComplete || (!batch.IsComplete && _index.StaleCount == 0))
                return;
            Wake();
        }
    }

    // Caller holds the lock, so the check and the release are one step and the count never passes 1.
    private void Wake()
    {
        if (_wake.CurrentCount == 0)
            _wake.Release();
    }

    private async Task SyncAsync(IProxyBackend backend, CancellationToken stopping)
    {
        var backoff = new Backoff(_options.RetryDelay, _options.MaxRetryDelay, _random);
        try
        {
            while (true)
            {
                // The first wait has no limit: before a complete set there is nothing to check.
                var woken = await WaitAsync(stopping);
                if (!woken && await IsIntactAsync(backend, stopping))
                    continue;
                var started = _timeProvider.GetTimestamp();
                while (!await TrySyncAsync(backend, started, stopping))
                {
                    TimeSpan pause;
                    lock (_lock)
                        pause = backoff.Next();
                    if (!await DelayAsync(pause, stopping))
                        return;
                    started = _timeProvider.GetTimestamp();
                }

                backoff.Reset();
                if (_options.MinSyncInterval - _timeProvider.GetElapsedTime(started) is var rest && rest > TimeSpan.Zero
                    && !await DelayAsync(rest, stopping))
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // Stopping.
        }
    }

    /// <returns>False when the check interval passed without a change.</returns>
    private async Task<bool> WaitAsync(CancellationToken stopping)
    {
        if (!Status.HasSynced)
        {
            await _wake.WaitAsync(stopping);
            return true;
        }

        using var due = new CancellationTokenSource(_options.CheckInterval, _timeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stopping, due.Token);
        try
        {
            await _wake.WaitAsync(either.Token);
            return true;
        }
        catch (OperationCanceledException) when (!stopping.IsCancellationRequested)
        {
            return false;
        }
    }

    private async Task<bool> IsIntactAsync(IProxyBackend backend, CancellationToken stopping)
    {
        try
        {
            return await backend.CheckAsync(stopping);
        }
        catch (Exception e) when (e is not OperationCanceledException || !stopping.IsCancellationRequested)
        {
            Log.CheckFailed(_logger, e);
            return false;
        }
    }

    private async Task<bool> TrySyncAsync(IProxyBackend backend, long started, CancellationToken stopping)
    {
        ImmutableArray<ServiceRule> rules;
        lock (_lock)
            rules = _index.Rules();
        try
        {
            var changed = await backend.SyncAsync(rules, stopping);
            var took = _timeProvider.GetElapsedTime(started);
            Update(s => s with
            {
                HasSynced = true,
                Syncs = s.Syncs + 1,
                LastSyncDuration = took,
                LastSync = _timeProvider.GetUtcNow(),
                ServicePorts = rules.Length,
                Endpoints = rules.Sum(static r => r.Endpoints.Length),
                LastError = null,
            });
            ProxyTelemetry.Synced(took);
            Log.Synced(_logger, rules.Length, changed, took.TotalMilliseconds);
            return true;
        }
        catch (Exception e) when (e is not OperationCanceledException || !stopping.IsCancellationRequested)
        {
            ProxyTelemetry.Failed();
            // A backend repairs itself with the next call, whatever went wrong in this one.
            Update(s => s with { Failures = s.Failures + 1, LastError = e.Message });
            Log.SyncFailed(_logger, e);
            return false;
        }
    }

    private void Update(Func<ServiceProxyStatus, ServiceProxyStatus> change)
    {
        lock (_lock)
            _status = change(_status);
    }

    /// <returns>False when stopping.</returns>
    private async Task<bool> DelayAsync(TimeSpan time, CancellationToken stopping)
    {
        await Task.Delay(time, _timeProvider, stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return !stopping.IsCancellationRequested;
    }

    private static partial class Log
    {
        [LoggerMessage(40, LogLevel.Warning, "The service feed was lost; the rules stay as they are. Reading again in {Pause}.")]
        public static partial void FeedLost(ILogger logger, TimeSpan pause, Exception? cause);

        [LoggerMessage(41, LogLevel.Warning, "Ignored a malformed {Resource} {Namespace}/{Name}.")]
        public static partial void Malformed(ILogger logger, ServiceFeedResource resource, string @namespace, string name, Exception cause);

        [LoggerMessage(42, LogLevel.Debug, "Synced {ServicePorts} service ports (changed: {Changed}) in {Milliseconds:0.0} ms.")]
        public static partial void Synced(ILogger logger, int servicePorts, bool changed, double milliseconds);

        [LoggerMessage(43, LogLevel.Error, "Sync failed; trying again.")]
        public static partial void SyncFailed(ILogger logger, Exception cause);

        [LoggerMessage(44, LogLevel.Warning, "Checking the host's rules failed; they will be synced.")]
        public static partial void CheckFailed(ILogger logger, Exception cause);
    }
}

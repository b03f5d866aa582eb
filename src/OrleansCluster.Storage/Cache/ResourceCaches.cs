using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>The caches of a process: made at the first <see cref="Get"/>, stopped together.</summary>
public sealed class ResourceCaches : IResourceCaches, IAsyncDisposable
{
    private readonly ResourceRegistry _registry;
    private readonly IObjectStore _store;
    private readonly ResourceCacheOptions _options;
    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, ResourceCache> _caches = new(StringComparer.Ordinal);
    private bool _disposed;

    /// <summary>Makes an empty set of caches.</summary>
    /// <param name="registry">The resources that may be asked for.</param>
    /// <param name="store">The store to follow. It must outlive the caches.</param>
    /// <param name="options">Settings.</param>
    /// <param name="time">Clock of time-outs, delays and the history's age.</param>
    /// <param name="random">Jitter; must be safe for concurrent use.</param>
    /// <param name="meters">The host's meters, where they tell what is in them; null for caches without a host.</param>
    /// <param name="logger">Log.</param>
    public ResourceCaches(
        ResourceRegistry registry, IObjectStore store, ResourceCacheOptions options, TimeProvider time, Random random, IMeterFactory? meters,
        ILogger<ResourceCaches> logger)
    {
        _registry = registry;
        _store = store;
        _options = options;
        _time = time;
        _random = random;
        _logger = logger;
        if (meters?.Create(StoreTelemetry.Name) is not { } meter)
            return;
        meter.CreateObservableGauge(
            "apiserver_storage_objects", () => Measure(static s => s.Count), null, "Objects of a resource as this process sees them.");
        meter.CreateObservableGauge(
            "orleanscluster_cache_bytes", () => Measure(static s => s.Enumerate().Sum(static o => (long)o.Bytes.Length)), null,
            "Bytes of the objects of a resource in this process's cache.");
        meter.CreateObservableGauge(
            "orleanscluster_cache_revision", () => Measure(static s => s.Revision), null,
            "Revision up to which this process's cache of a resource follows the change log; the difference between two processes is the lag of one.");
    }

    /// <summary>Resources whose cache was asked for and is not filled yet. Empty if all is well.</summary>
    public IReadOnlyList<string> Unfilled()
    {
        lock (_gate)
            return [.. _caches.Values.Where(c => c.Current is null).Select(c => c.Definition.Resource)];
    }

    /// <inheritdoc/>
    public IResourceCache Get(string resource)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_caches.TryGetValue(resource, out var cache))
                return cache;
            cache = new ResourceCache(_registry.Get(resource), _store, _options, _time, _random, _logger);
            cache.Start();
            _caches.Add(resource, cache);
            return cache;
        }
    }

    /// <summary>Stops every cache. Readers and watchers that still wait get <see cref="ObjectDisposedException"/>.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
            _disposed = true;
        // Nothing is added once disposed is set. One cache's failure to stop must not keep the others running.
        await Task.WhenAll(_caches.Values.Select(c => c.DisposeAsync().AsTask()));
    }

    private IEnumerable<Measurement<long>> Measure(Func<CacheSnapshot, long> value)
    {
        ResourceCache[] caches;
        lock (_gate)
            caches = [.. _caches.Values];
        foreach (var cache in caches)
        {
            if (cache.Current is CacheSnapshot snapshot)
                yield return new Measurement<long>(value(snapshot), new KeyValuePair<string, object?>("resource", cache.Definition.Resource));
        }
    }
}

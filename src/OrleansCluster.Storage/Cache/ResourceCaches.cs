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
    /// <param name="logger">Log.</param>
    public ResourceCaches(
        ResourceRegistry registry, IObjectStore store, ResourceCacheOptions options, TimeProvider time, Random random, ILogger<ResourceCaches> logger)
    {
        _registry = registry;
        _store = store;
        _options = options;
        _time = time;
        _random = random;
        _logger = logger;
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
}

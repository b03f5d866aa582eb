using Microsoft.Extensions.DependencyInjection;
using OrleansCluster.Api;
using OrleansCluster.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>What an API server needs to answer requests.</summary>
internal static class ApiServerHealth
{
    /// <summary>The store tells its newest revision, and this process's cache follows it.</summary>
    public static HealthCheck Store(IServiceProvider provider)
    {
        var caches = provider.GetRequiredService<IResourceCaches>();
        var resource = SmallResource(provider);
        return new HealthCheck("store", HealthImpact.Readiness, async cancellationToken =>
        {
            await caches.Get(resource).GetLatestAsync(cancellationToken);
            return null;
        });
    }

    /// <summary>Every resource that was asked for can be read from memory.</summary>
    public static HealthCheck Caches(IServiceProvider provider)
    {
        var caches = provider.GetRequiredService<IResourceCaches>();
        return HealthCheck.Of("caches", HealthImpact.Readiness, () =>
            caches is ResourceCaches own && own.Unfilled() is { Count: > 0 } missing ? $"not filled yet: {string.Join(", ", missing)}" : null);
    }

    /// <summary>
    /// A silo takes grain calls: without one there are reads, but no writes. Asked of a stateless grain, which every silo has: an object's grain would
    /// tell of the one silo it happens to be on.
    /// </summary>
    public static HealthCheck Silo(IServiceProvider provider)
    {
        var grains = provider.GetRequiredService<IGrainFactory>();
        var resource = SmallResource(provider);
        return new HealthCheck("silo", HealthImpact.Readiness, async cancellationToken =>
        {
            await grains.GetGrain<IResourceReaderGrain>(resource).GetAsync("", "default", cancellationToken);
            return null;
        });
    }

    private static string SmallResource(IServiceProvider provider)
    {
        var registry = provider.GetRequiredService<ResourceRegistry>();
        return registry.Find("namespaces")?.Resource ?? registry.All[0].Resource;
    }
}

using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>Registration of stores and caches.</summary>
public static class StorageServices
{
    /// <summary>
    /// Makes the embedded store the process's <see cref="IObjectStore"/>. It is opened when the host starts, or when first resolved before that,
    /// and closed when the container is disposed.
    /// </summary>
    public static IServiceCollection AddSqliteObjectStore(this IServiceCollection services, Action<SqliteStoreOptions>? configure = null)
    {
        AddShared(services);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<SqliteStoreOptions>, SqliteStoreOptionsValidator>());
        services.AddOptions<SqliteStoreOptions>().Configure(options => configure?.Invoke(options)).ValidateOnStart();
        services.TryAddSingleton<IObjectStore>(provider => new MeteredObjectStore(SqliteObjectStore.Open(
            provider.GetRequiredService<IOptions<SqliteStoreOptions>>().Value,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<SqliteObjectStore>>())));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, StoreStarter>());
        return services;
    }

    /// <summary>
    /// Makes Redis the process's <see cref="IObjectStore"/>. Settings are checked and the server is asked when the host starts; a process that runs survives
    /// any outage.
    /// </summary>
    public static IServiceCollection AddRedisObjectStore(this IServiceCollection services, Action<RedisStoreOptions>? configure = null)
    {
        AddShared(services);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<RedisStoreOptions>, RedisStoreOptionsValidator>());
        services.AddOptions<RedisStoreOptions>().Configure(options => configure?.Invoke(options)).ValidateOnStart();
        services.TryAddSingleton<IObjectStore>(provider => new MeteredObjectStore(RedisObjectStore.Create(
            provider.GetRequiredService<IOptions<RedisStoreOptions>>().Value,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<Random>(),
            provider.GetRequiredService<ILogger<RedisObjectStore>>(),
            provider.GetRequiredService<IMeterFactory>())));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, StoreStarter>());
        return services;
    }

    /// <summary>Adds <see cref="IResourceCaches"/> over the registered store and <see cref="ResourceRegistry"/>.</summary>
    public static IServiceCollection AddResourceCaches(this IServiceCollection services, Action<ResourceCacheOptions>? configure = null)
    {
        AddShared(services);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ResourceCacheOptions>, ResourceCacheOptionsValidator>());
        services.AddOptions<ResourceCacheOptions>().Configure(options => configure?.Invoke(options)).ValidateOnStart();
        services.TryAddSingleton<IResourceCaches>(provider => new ResourceCaches(
            provider.GetRequiredService<ResourceRegistry>(),
            provider.GetRequiredService<IObjectStore>(),
            provider.GetRequiredService<IOptions<ResourceCacheOptions>>().Value,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<Random>(),
            provider.GetRequiredService<IMeterFactory>(),
            provider.GetRequiredService<ILogger<ResourceCaches>>()));
        return services;
    }

    /// <summary>
    /// Starts the caches of all registered resources with the host instead of at the first request for each. For API servers, which are ready when their caches
    /// are full: a client whose list or watch began elsewhere then finds the changes since here as well.
    /// </summary>
    public static IServiceCollection FillResourceCachesAtStart(this IServiceCollection services)
    {
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, CacheStarter>());
        return services;
    }

    /// <summary>Adds the service that removes objects whose time to live has passed (events). For silos.</summary>
    public static IServiceCollection AddExpirySweeper(this IServiceCollection services, Action<ExpirySweeperOptions>? configure = null)
    {
        AddShared(services);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ExpirySweeperOptions>, ExpirySweeperOptionsValidator>());
        services.AddOptions<ExpirySweeperOptions>().Configure(options => configure?.Invoke(options)).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, ExpirySweeper>());
        return services;
    }

    private static void AddShared(IServiceCollection services)
    {
        services.AddLogging();
        services.AddMetrics();
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton(Random.Shared);
    }

    private sealed class CacheStarter(IResourceCaches caches, ResourceRegistry registry) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            foreach (var definition in registry.All)
                _ = caches.Get(definition.Resource);
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }

    /// <summary>Opens the store when the host starts, so that an unusable one ends the start and not the first request.</summary>
    private sealed class StoreStarter(IServiceProvider provider) : IHostedLifecycleService
    {
        // Before any other service starts, side by side or not: a process whose store cannot be used must not answer requests and then end.
        public Task StartingAsync(CancellationToken cancellationToken) =>
            provider.GetRequiredService<IObjectStore>() is MeteredObjectStore { Inner: RedisObjectStore redis } ? redis.StartAsync(cancellationToken) : Task.CompletedTask;

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

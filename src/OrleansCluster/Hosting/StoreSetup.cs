using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>Which store a process uses.</summary>
internal static class StoreSetup
{
    /// <summary>The store of a cluster in one process.</summary>
    public static void AddEmbeddedStore(this IServiceCollection services, string dataDirectory, bool inMemory)
    {
        services.AddSqliteObjectStore(store => store.Path = inMemory ? "" : Path.Combine(dataDirectory, "store", "objects.db"));
        services.AddResourceCaches();
    }

    /// <summary>The store that the processes of a cluster share.</summary>
    public static void AddSharedStore(this IServiceCollection services, ClusterAddress cluster)
    {
        if (cluster.Local is { } local)
        {
            services.AddSingleton(local.Store);
        }
        else
        {
            services.AddRedisObjectStore(store =>
            {
                store.ConnectionString = cluster.Redis;
                store.PasswordFile = cluster.RedisPasswordFile;
            });
        }
        services.AddResourceCaches();
    }
}

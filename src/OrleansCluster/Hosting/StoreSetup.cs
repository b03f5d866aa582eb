using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Storage;

namespace OrleansCluster.Hosting;

/// <summary>Which store a process uses.</summary>
internal static class StoreSetup
{
    /// <summary>The store of a cluster in one process.</summary>
    public static void AddEmbeddedStore(this IServiceCollection services, string dataDirectory, bool inMemory)
    {
        services.AddSqliteObjectStore(store => store.Path = inMemory ? "" : EmbeddedPath(dataDirectory));
        services.AddResourceCaches();
    }

    /// <summary>The store that the processes of a cluster share.</summary>
    public static void AddSharedStore(this IServiceCollection services, ClusterAddress cluster)
    {
        if (cluster.Local is { } local)
            services.AddSingleton(local.Store);
        else
            services.AddRedisObjectStore(store => Configure(store, cluster));
        services.AddResourceCaches();
    }

    /// <summary>The embedded store's file.</summary>
    public static string EmbeddedPath(string dataDirectory) => Path.Combine(dataDirectory, "store", "objects.db");

    /// <summary>What the store's options are for a cluster. Two clusters on one Redis have two names, and so their keys begin differently.</summary>
    public static void Configure(RedisStoreOptions store, ClusterAddress cluster)
    {
        store.ConnectionString = cluster.Redis;
        store.PasswordFile = cluster.RedisPasswordFile;
        store.MinReplicas = cluster.RedisMinReplicas;
        if (!string.Equals(cluster.ClusterId, ClusterAddress.DefaultClusterId, StringComparison.Ordinal))
            store.KeyPrefix = $"{store.KeyPrefix}.{cluster.ClusterId}";
    }
}

using OrleansCluster.Commands;

namespace OrleansCluster.Hosting;

internal sealed class RedisShimOptions
{
    public string ConnectionString { get; set; } = "";

    public string PasswordFile { get; set; } = "";
}

internal static class RedisShim
{
    public static IServiceCollection AddRedisObjectStore(this IServiceCollection services, Action<RedisShimOptions> configure)
    {
        configure(new RedisShimOptions());
        throw new StartException("This build has no Redis store.");
    }
}

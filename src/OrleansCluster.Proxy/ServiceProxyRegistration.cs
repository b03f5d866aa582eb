using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OrleansCluster.Proxy.Host;

namespace OrleansCluster.Proxy;

/// <summary>Registration of the service proxy.</summary>
public static class ServiceProxyRegistration
{
    /// <summary>
    /// Adds the proxy as a hosted service, and as a singleton for its <see cref="ServiceProxy.Status"/>. The caller
    /// registers the <see cref="IServiceFeed"/>.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="configure">Settings; checked when the host starts.</param>
    public static IServiceCollection AddServiceProxy(this IServiceCollection services, Action<ServiceProxyOptions>? configure = null)
    {
        services.AddOptions<ServiceProxyOptions>().Configure(configure ?? (static _ => { })).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ServiceProxyOptions>, ServiceProxyOptions.Validator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<IHostNetwork, HostNetwork>();
        services.TryAddSingleton<IProxyBackendSelector, ProxyBackendSelector>();
        services.TryAddSingleton(static provider => new ServiceProxy(
            provider.GetRequiredService<IServiceFeed>(),
            provider.GetRequiredService<IProxyBackendSelector>(),
            provider.GetRequiredService<IOptions<ServiceProxyOptions>>(),
            provider.GetRequiredService<TimeProvider>(),
            // Random is not thread-safe, and the proxy uses it under its own lock: it gets one of its own.
            new Random(),
            provider.GetRequiredService<ILogger<ServiceProxy>>()));
        services.AddHostedService(static provider => provider.GetRequiredService<ServiceProxy>());
        return services;
    }
}

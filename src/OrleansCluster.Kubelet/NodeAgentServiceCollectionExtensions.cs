using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using OrleansCluster.Kubelet.Nodes;

namespace OrleansCluster.Kubelet;

/// <summary>Registers node agents in a host.</summary>
public static class NodeAgentServiceCollectionExtensions
{
    /// <summary>
    /// Adds node agents as a hosted service. The host must have an Orleans client or silo (<c>IGrainFactory</c>) registered before. Options are checked
    /// at the start of the host; an invalid one stops it with a message that names option, value and remedy.
    /// </summary>
    public static IServiceCollection AddNodeAgents(this IServiceCollection services, Action<NodeAgentOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddOptions<NodeAgentOptions>().Configure(configure).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<NodeAgentOptions>, NodeAgentOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.AddMetrics();
        services.TryAddSingleton<NodeAgentHost>();
        services.AddSingleton<IHostedService>(static provider => provider.GetRequiredService<NodeAgentHost>());
        return services;
    }

    private sealed class NodeAgentOptionsValidator : IValidateOptions<NodeAgentOptions>
    {
        public ValidateOptionsResult Validate(string? name, NodeAgentOptions options) =>
            options.Validate() is { Count: > 0 } errors ? ValidateOptionsResult.Fail(errors) : ValidateOptionsResult.Success;
    }
}

using System.Collections.Immutable;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy;

/// <summary>
/// Makes the host's network follow the rules. Calls come one at a time. Level-triggered: every call carries everything
/// that should exist, and what a failed call left behind is repaired by the next.
/// </summary>
public interface IProxyBackend
{
    /// <summary>Makes the host follow exactly these rules.</summary>
    /// <returns>False when nothing had to change.</returns>
    /// <exception cref="ProxyBackendException">The rules are not, or not all, in force. Try again.</exception>
    Task<bool> SyncAsync(ImmutableArray<ServiceRule> rules, CancellationToken cancellationToken);

    /// <summary>Looks whether somebody else removed what <see cref="SyncAsync"/> set up; if so, the next sync restores all.</summary>
    /// <returns>False when a sync is needed.</returns>
    Task<bool> CheckAsync(CancellationToken cancellationToken);

    /// <summary>Stops what needs this process (listeners, after a drain) and leaves kernel rules in force.</summary>
    Task StopAsync(CancellationToken cancellationToken);

    /// <summary>Removes all traces from the host.</summary>
    /// <exception cref="ProxyBackendException">Something could not be removed.</exception>
    Task RemoveAsync(CancellationToken cancellationToken);
}

/// <summary>A backend could not bring the rules into force; the message carries the program's own words.</summary>
public sealed class ProxyBackendException : Exception
{
    /// <summary>Creates the exception without a message.</summary>
    public ProxyBackendException()
    {
    }

    /// <summary>Creates the exception with what failed and why.</summary>
    public ProxyBackendException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with what failed and its cause.</summary>
    public ProxyBackendException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}

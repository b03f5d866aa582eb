using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>Answer of the authorizer.</summary>
/// <param name="Allowed">True if permitted. Otherwise there is simply no rule: RBAC only grants.</param>
/// <param name="Reason">Which binding permits it.</param>
internal readonly record struct AccessDecision(bool Allowed, string Reason = "");

/// <summary>
/// Decides by the Role, ClusterRole, RoleBinding and ClusterRoleBinding objects (wire contract, section 20). They are compiled into an immutable
/// index by subject, which is swapped whole after a change: a decision reads no object and parses nothing. Members of `system:masters` pass
/// everything, and the health paths are open to all.
/// </summary>
internal sealed class RbacAuthorizer(IResourceCaches caches, ResourceRegistry registry) : IDisposable
{
    internal const string Group = "rbac.authorization.k8s.io";

    private static readonly string[] OpenPaths = ["/healthz", "/livez", "/readyz"];
    private static readonly string[] Resources = ["roles." + Group, "clusterroles." + Group, "rolebindings." + Group, "clusterrolebindings." + Group];

    private readonly SemaphoreSlim _building = new(1, 1);
    private readonly List<IDisposable> _subscriptions = [];

    // Written by the caches' loops after every change, read before each decision: a stale index is never used knowingly.
    private int _changes = 1;
    private Compiled? _compiled;

    /// <summary>Decides.</summary>
    public async ValueTask<AccessDecision> AuthorizeAsync(UserInfo user, AccessAttributes access, CancellationToken cancellationToken)
    {
        foreach (var group in user.Groups)
        {
            if (group == UserInfo.MastersGroup)
                return new AccessDecision(true, "the group system:masters passes every check");
        }
        if (access.Path is { } path)
        {
            foreach (var open in OpenPaths)
            {
                if (path == open || (path.StartsWith(open, StringComparison.Ordinal) && path[open.Length] == '/'))
                    return new AccessDecision(true, "the path is open to everybody");
            }
        }
        return (await GetIndexAsync(cancellationToken)).Authorize(user, access);
    }

    /// <summary>All rules a user holds in a namespace (or, with the empty string, cluster-wide).</summary>
    public async ValueTask<IReadOnlyList<PolicyRule>> RulesForAsync(UserInfo user, string @namespace, CancellationToken cancellationToken) =>
        user.Groups.Contains(UserInfo.MastersGroup, StringComparer.Ordinal)
            ? DefaultRoles.Everything
            : (await GetIndexAsync(cancellationToken)).RulesFor(user, @namespace);

    /// <summary>The rules of a role, or null if there is no such role.</summary>
    public async ValueTask<IReadOnlyList<PolicyRule>?> RulesOfRoleAsync(string kind, string @namespace, string name, CancellationToken cancellationToken) =>
        (await GetIndexAsync(cancellationToken)).RulesOfRole(kind, @namespace, name);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var subscription in _subscriptions)
            subscription.Dispose();
        _building.Dispose();
    }

    private async ValueTask<RbacIndex> GetIndexAsync(CancellationToken cancellationToken)
    {
        var compiled = Volatile.Read(ref _compiled);
        if (compiled is not null && compiled.Changes == Volatile.Read(ref _changes))
            return compiled.Index;
        await _building.WaitAsync(cancellationToken);
        try
        {
            compiled = _compiled;
            if (compiled is not null && compiled.Changes == Volatile.Read(ref _changes))
                return compiled.Index;
            if (registry.Find(Resources[0]) is null)
            {
                // A server without the RBAC kinds has the default roles and nothing else.
                var defaults = RbacIndex.FromDefaults();
                _compiled = new Compiled(defaults, Volatile.Read(ref _changes));
                return defaults;
            }
            if (_subscriptions.Count == 0)
            {
                foreach (var resource in Resources)
                    _subscriptions.Add(caches.Get(resource).Subscribe((_, _) => Interlocked.Increment(ref _changes)));
            }
            // Read before the snapshots: a change that arrives while they are compiled makes the result stale at once.
            var changes = Volatile.Read(ref _changes);
            var snapshots = new ICacheSnapshot[Resources.Length];
            for (var i = 0; i < Resources.Length; i++)
                snapshots[i] = await caches.Get(Resources[i]).GetSnapshotAsync(cancellationToken);
            var index = RbacIndex.Compile(snapshots[0], snapshots[1], snapshots[2], snapshots[3]);
            Volatile.Write(ref _compiled, new Compiled(index, changes));
            return index;
        }
        finally
        {
            _building.Release();
        }
    }

    private sealed record Compiled(RbacIndex Index, int Changes);
}

/// <summary>Words refusals (wire contract, status-errors).</summary>
internal static class AccessDenied
{
    /// <summary>403 for a resource.</summary>
    public static StatusError Resource(UserInfo user, in AccessAttributes access)
    {
        var scope = access.Namespace.Length > 0 ? $"in the namespace \"{access.Namespace}\"" : "at the cluster scope";
        var plural = access.Resource.Split('/')[0];
        return StatusError.Forbidden(
            plural, access.Group, access.Name,
            $"User \"{user.Name}\" cannot {access.Verb} resource \"{access.Resource}\" in API group \"{access.Group}\" {scope}");
    }

    /// <summary>403 for a path.</summary>
    public static StatusError Path(UserInfo user, in AccessAttributes access) =>
        new(403, "Forbidden", $"forbidden: User \"{user.Name}\" cannot {access.Verb} path \"{access.Path}\"");

    /// <summary>Either.</summary>
    public static StatusError For(UserInfo user, in AccessAttributes access) =>
        access.Path is null ? Resource(user, access) : Path(user, access);
}

using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Nobody gives rights that he does not hold: a write of a role needs its rules or the verb `escalate`, a write of a binding the role's rules or
/// the verb `bind` (wire contract, section 20).
/// </summary>
internal sealed class RoleEscalation(RbacAuthorizer authorizer)
{
    /// <summary>True if writes of this request need the check.</summary>
    public bool Guards(ApiRequest request) =>
        request.Info.Group == RbacAuthorizer.Group && !request.Caller.IsMaster && request.Info.Subresource.Length == 0;

    /// <summary>Checks a body before it is created.</summary>
    /// <exception cref="StatusException">403.</exception>
    public ValueTask CheckCreateAsync(ApiRequest request, byte[] body) => CheckAsync(request, body);

    /// <summary>Checks the whole object an update would leave.</summary>
    /// <exception cref="StatusException">403.</exception>
    public ValueTask CheckUpdateAsync(ApiRequest request, byte[] body) => CheckAsync(request, body);

    private async ValueTask CheckAsync(ApiRequest request, byte[] body)
    {
        if (!Guards(request))
            return;
        var obj = RequestBody.ParseObject(body, request.Definition.Kind);
        var name = Text(obj["metadata"], "name");
        IReadOnlyList<PolicyRule>? granted;
        if (request.Info.Resource is "roles" or "clusterroles")
        {
            if (await IsAllowedAsync(request, "escalate", request.Info.Resource, name))
                return;
            granted = PolicyRule.ReadAll(obj["rules"]);
            // What an aggregated role will hold is open: only who holds everything may make one.
            if (obj["aggregationRule"] is not null)
                granted = [.. granted, .. DefaultRoles.Everything];
        }
        else
        {
            var kind = Text(obj["roleRef"], "kind");
            var role = Text(obj["roleRef"], "name");
            var resource = kind == "Role" ? "roles" : "clusterroles";
            if (await IsAllowedAsync(request, "bind", resource, role))
                return;
            granted = await authorizer.RulesOfRoleAsync(kind, request.Info.Namespace, role, request.Aborted)
                ?? throw new StatusException(StatusError.NotFound(resource, RbacAuthorizer.Group, role));
        }

        var held = await authorizer.RulesForAsync(request.Caller.User, request.Info.Namespace, request.Aborted);
        var missing = granted.SelectMany(r => r.Split()).Where(one => !held.Any(h => h.Covers(one))).Select(r => r.ToString()).Distinct().ToArray();
        if (missing.Length == 0)
            return;
        var user = request.Caller.User;
        throw new StatusException(StatusError.Forbidden(
            request.Info.Resource, RbacAuthorizer.Group, name,
            $"user \"{user.Name}\" (groups=[{string.Join(" ", user.Groups.Select(g => $"\"{g}\""))}]) is attempting to grant RBAC permissions not currently held:\n"
            + string.Join("\n", missing)));
    }

    private async ValueTask<bool> IsAllowedAsync(ApiRequest request, string verb, string resource, string name) =>
        (await authorizer.AuthorizeAsync(
            request.Caller.User, new AccessAttributes(verb, RbacAuthorizer.Group, resource, request.Info.Namespace, name), request.Aborted)).Allowed;

    private static string Text(JsonNode? node, string member) =>
        node is JsonObject obj && obj[member] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";
}

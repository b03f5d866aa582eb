using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>Acting as somebody else by headers (`kubectl --as`), which every part of the other identity needs a right for.</summary>
internal sealed class Impersonation(RbacAuthorizer authorizer)
{
    private const string ServiceAccountPrefix = "system:serviceaccount:";

    /// <summary>True if a request asks to be made as somebody else.</summary>
    public static bool IsAskedFor(HttpRequest request)
    {
        foreach (var header in request.Headers)
        {
            if (header.Key.StartsWith("Impersonate-", StringComparison.OrdinalIgnoreCase))
                return true;
        }
        return false;
    }

    /// <summary>The caller the request is made as: the real one if no header asks otherwise.</summary>
    /// <exception cref="StatusException">403: a right is missing; 500: groups without a user.</exception>
    public async ValueTask<Caller> ApplyAsync(HttpContext context, Caller real, CancellationToken cancellationToken)
    {
        var headers = context.Request.Headers;
        var user = headers["Impersonate-User"].ToString();
        var groups = headers["Impersonate-Group"];
        var uid = headers["Impersonate-Uid"].ToString();
        if (user.Length == 0)
        {
            var orphan = groups.Count > 0 ? "groups" : uid.Length > 0 ? "uid" : headers.Keys.Any(IsExtra) ? "userextra" : null;
            // 500 is what kube-apiserver answers, and clients know (wire contract, section 1).
            return orphan is null ? real : throw new StatusException(StatusError.InternalError($"requested [{orphan}] without impersonating a user"));
        }

        var named = new List<string>();
        if (user.StartsWith(ServiceAccountPrefix, StringComparison.Ordinal) && user[ServiceAccountPrefix.Length..].Split(':') is [var ns, var name])
        {
            await RequireAsync(real, "", "serviceaccounts", ns, name, cancellationToken);
            if (groups.Count == 0)
                named.AddRange(["system:serviceaccounts", "system:serviceaccounts:" + ns]);
        }
        else
        {
            await RequireAsync(real, "", "users", "", user, cancellationToken);
        }

        foreach (var group in groups)
        {
            await RequireAsync(real, "", "groups", "", group ?? "", cancellationToken);
            named.Add(group ?? "");
        }
        if (uid.Length > 0)
            await RequireAsync(real, "authentication.k8s.io", "uids", "", uid, cancellationToken);
        foreach (var header in headers)
        {
            if (IsExtra(header.Key))
            {
                var key = Uri.UnescapeDataString(header.Key["Impersonate-Extra-".Length..]).ToLowerInvariant();
                foreach (var value in header.Value)
                    await RequireAsync(real, "authentication.k8s.io", "userextras/" + key, "", value ?? "", cancellationToken);
            }
        }
        var everyone = user == UserInfo.Anonymous.Name ? "system:unauthenticated" : Authentication.AuthenticatedGroup;
        if (!named.Contains(everyone, StringComparer.Ordinal))
            named.Add(everyone);
        return new Caller(new UserInfo(user, named, uid));
    }

    private static bool IsExtra(string header) => header.StartsWith("Impersonate-Extra-", StringComparison.OrdinalIgnoreCase);

    private async ValueTask RequireAsync(
        Caller real, string group, string resource, string @namespace, string name, CancellationToken cancellationToken)
    {
        var attributes = new AccessAttributes("impersonate", group, resource, @namespace, name);
        if (!(await authorizer.AuthorizeAsync(real.User, attributes, cancellationToken)).Allowed)
            throw new StatusException(AccessDenied.Resource(real.User, attributes));
    }
}

using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>The authenticated caller. One instance per connection or token, shared by its requests.</summary>
internal sealed class Caller(UserInfo user)
{
    /// <summary>An unauthenticated caller.</summary>
    public static Caller Anonymous { get; } = new(UserInfo.Anonymous);

    /// <summary>Who it is.</summary>
    public UserInfo User { get; } = user;

    /// <summary>The groups as the grain call carries them.</summary>
    public string[] Groups { get; } = [.. user.Groups];

    /// <summary>True for members of the group that passes every check.</summary>
    public bool IsMaster { get; } = user.Groups.Contains(UserInfo.MastersGroup, StringComparer.Ordinal);

    /// <summary>True for a caller without a credential.</summary>
    public bool IsAnonymous => User.Name == UserInfo.Anonymous.Name;
}

/// <summary>One request for a resource on its way through the handlers.</summary>
/// <param name="Context">The HTTP exchange.</param>
/// <param name="Info">What it asks for.</param>
/// <param name="Caller">Who asks, impersonation applied.</param>
/// <param name="Aborted">Cancelled when the client goes away, the server stops or the request's time is up.</param>
internal sealed record ApiRequest(HttpContext Context, RequestInfo Info, Caller Caller, CancellationToken Aborted)
{
    /// <summary>The resource; only for requests whose path names a registered one.</summary>
    public ResourceDefinition Definition => Info.Definition ?? throw new StatusException(StatusError.NoSuchPath());

    /// <summary>The request.</summary>
    public HttpRequest Http => Context.Request;

    /// <summary>The answer.</summary>
    public HttpResponse Response => Context.Response;

    /// <summary>Key of the object the path names.</summary>
    public ObjectKey Key => Definition.Key(Info.Namespace, Info.Name);
}

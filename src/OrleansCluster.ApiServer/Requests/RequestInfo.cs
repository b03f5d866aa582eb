using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>The verbs of resource requests, in the spelling of RBAC rules and discovery.</summary>
internal static class Verbs
{
    public const string Get = "get";
    public const string List = "list";
    public const string Watch = "watch";
    public const string Create = "create";
    public const string Update = "update";
    public const string Patch = "patch";
    public const string Delete = "delete";
    public const string DeleteCollection = "deletecollection";
}

/// <summary>
/// What a request asks for, read from its method, path and two query values: the input of authorization and of the router. A path below
/// `/api/VERSION` or `/apis/GROUP/VERSION` names a resource, every other path does not (<see cref="IsResource"/> is false).
/// </summary>
internal sealed class RequestInfo
{
    /// <summary>The path as sent, decoded.</summary>
    public required string Path { get; init; }

    /// <summary>True for a path that names a resource, known or not.</summary>
    public bool IsResource { get; init; }

    /// <summary>RBAC verb; for a path without a resource the lower-case method.</summary>
    public required string Verb { get; init; }

    /// <summary>API group; empty for the core group.</summary>
    public string Group { get; init; } = "";

    /// <summary>API version.</summary>
    public string Version { get; init; } = "";

    /// <summary>Namespace of the objects; empty for cluster scope or all namespaces.</summary>
    public string Namespace { get; init; } = "";

    /// <summary>
    /// Namespace for authorization: like <see cref="Namespace"/>, but a request for the Namespace object N counts as made in N, so that a
    /// RoleBinding inside N can permit it.
    /// </summary>
    public string AuthorizationNamespace { get; init; } = "";

    /// <summary>Plural resource name.</summary>
    public string Resource { get; init; } = "";

    /// <summary>Subresource, or the empty string.</summary>
    public string Subresource { get; init; } = "";

    /// <summary>Object name, or the empty string for a collection.</summary>
    public string Name { get; init; } = "";

    /// <summary>What follows the subresource (the target path of a proxy request), with its leading slash, or the empty string.</summary>
    public string Remainder { get; init; } = "";

    /// <summary>The registered resource, or null if the path names none (or one that is not stored).</summary>
    public ResourceDefinition? Definition { get; init; }

    /// <summary>`resource` or `resource/subresource`, as RBAC rules name it.</summary>
    public string ResourceAndSubresource => Subresource.Length == 0 ? Resource : $"{Resource}/{Subresource}";
}

/// <summary>Reads <see cref="RequestInfo"/> from method, path and query (wire contract, section 5).</summary>
internal static class RequestInfoParser
{
    /// <summary>Parses one request.</summary>
    /// <param name="registry">The resources served.</param>
    /// <param name="method">HTTP method, upper case.</param>
    /// <param name="path">Decoded path.</param>
    /// <param name="watch">True if the query says `watch=true`.</param>
    /// <param name="nameFromFieldSelector">The name in a `metadata.name=X` field selector, or the empty string; it refines authorization.</param>
    public static RequestInfo Parse(ResourceRegistry registry, string method, string path, bool watch, string nameFromFieldSelector)
    {
        var segments = new Segments(path);
        var group = "";
        string version;
        if (segments.Next() is "api" && segments.Next() is { Length: > 0 } coreVersion)
        {
            version = coreVersion;
        }
        else if (path.StartsWith("/apis/", StringComparison.Ordinal))
        {
            segments = new Segments(path);
            segments.Next();
            group = segments.Next() ?? "";
            version = segments.Next() ?? "";
        }
        else
        {
            return NonResource(method, path);
        }

        var resource = segments.Next();
        if (version.Length == 0 || resource is null or "")
            return NonResource(method, path);

        var deprecatedWatch = false;
        if (resource == "watch" && method == "GET")
        {
            // Deprecated prefix: /api/v1/watch/pods is a watch of /api/v1/pods.
            deprecatedWatch = true;
            resource = segments.Next() ?? "";
        }

        var @namespace = "";
        var authorizationNamespace = "";
        var name = segments.Next() ?? "";
        var subresource = segments.Next() ?? "";
        if (resource == "namespaces" && name.Length > 0)
        {
            authorizationNamespace = name;
            if (subresource.Length > 0 && (group.Length > 0 || subresource is not ("status" or "finalize")))
            {
                @namespace = name;
                resource = subresource;
                name = segments.Next() ?? "";
                subresource = segments.Next() ?? "";
            }
        }
        var remainder = segments.Rest;
        var verb = method switch
        {
            "GET" or "HEAD" when deprecatedWatch => Verbs.Watch,
            "GET" or "HEAD" when name.Length > 0 => Verbs.Get,
            "GET" or "HEAD" => watch ? Verbs.Watch : Verbs.List,
            "POST" => Verbs.Create,
            "PUT" => Verbs.Update,
            "PATCH" => Verbs.Patch,
            "DELETE" => name.Length > 0 ? Verbs.Delete : Verbs.DeleteCollection,
            _ => "",
        };
        // `GET NAME?watch=true` is a watch of one object (the classic form some clients still send).
        if (verb == Verbs.Get && watch && subresource.Length == 0)
            verb = Verbs.Watch;
        return new RequestInfo
        {
            Path = path,
            IsResource = true,
            Verb = verb,
            Group = group,
            Version = version,
            Namespace = @namespace,
            AuthorizationNamespace = authorizationNamespace,
            Resource = resource,
            Subresource = subresource,
            Name = name.Length == 0 && verb is Verbs.List or Verbs.Watch or Verbs.DeleteCollection ? FirstNonEmpty(name, nameFromFieldSelector) : name,
            Remainder = remainder,
            Definition = registry.FindByPath(group, version, resource),
        };
    }

    private static string FirstNonEmpty(string first, string second) => first.Length > 0 ? first : second;

    private static RequestInfo NonResource(string method, string path) => new()
    {
        Path = path,
        Verb = method.ToLowerInvariant(),
    };

    /// <summary>Walks the segments of a path.</summary>
    private struct Segments(string path)
    {
        private int _position = path.StartsWith('/') ? 1 : 0;

        /// <summary>What has not been walked, with its leading slash, or the empty string.</summary>
        public readonly string Rest => _position > path.Length ? "" : path[(_position - 1)..];

        /// <summary>The next segment, or null after the last.</summary>
        public string? Next()
        {
            if (_position > path.Length || (_position == path.Length && _position > 0 && path[_position - 1] == '/'))
            {
                _position = path.Length + 1;
                return null;
            }
            var slash = path.IndexOf('/', _position);
            var end = slash < 0 ? path.Length : slash;
            var segment = path[_position..end];
            _position = end + 1;
            return segment;
        }
    }
}

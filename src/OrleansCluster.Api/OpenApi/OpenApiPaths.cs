using System.Text.Json;

namespace OrleansCluster.Api;

/// <summary>Writes the paths of one OpenAPI document: per resource the collection, the object and its subresources.</summary>
internal sealed class OpenApiPaths(Utf8JsonWriter writer, OpenApiSchemas schemas, string group, string version)
{
    private const string Meta = "io.k8s.apimachinery.pkg.apis.meta.v1.";

    private static readonly string[] WriteParameters = ["dryRun", "fieldManager", "fieldValidation"];
    private static readonly string[] PatchParameters = [.. WriteParameters, "force:boolean"];
    private static readonly string[] DeleteParameters =
        ["dryRun", "gracePeriodSeconds:integer", "ignoreStoreReadErrorWithClusterBreakingPotential:boolean", "orphanDependents:boolean", "propagationPolicy"];

    private static readonly string[] ListParameters =
    [
        "continue", "fieldSelector", "labelSelector", "limit:integer", "resourceVersion", "resourceVersionMatch",
        "sendInitialEvents:boolean", "timeoutSeconds:integer",
    ];

    private static readonly string[] WatchableListParameters = ["allowWatchBookmarks:boolean", .. ListParameters, "watch:boolean"];
    private static readonly string[] DeleteCollectionParameters = [.. DeleteParameters, .. ListParameters];

    private readonly string _root = group.Length == 0 ? $"/api/{version}" : $"/apis/{group}/{version}";
    private readonly string _tag = $"{(group.Length == 0 ? "core" : Stem(group, "_"))}_{version}";
    private readonly string _name = Pascal(group.Length == 0 ? "core" : Stem(group, ".")) + Pascal(version);

    public void Write(IReadOnlyList<OpenApiResource> resources)
    {
        writer.WriteStartObject(_root + "/");
        Operation("get", null, $"get{_name}APIResources", null, [], null, Meta + "APIResourceList");
        writer.WriteEndObject();
        foreach (var resource in resources)
            Write(resource);
    }

    private void Write(OpenApiResource resource)
    {
        var type = schemas.NameOf(group, version, resource.Kind, resource.CustomSchema);
        var list = schemas.ListNameOf(group, version, resource.Kind, resource.CustomSchema);
        var gvk = (group, version, resource.Kind);
        var custom = resource.CustomSchema is not null;
        var scope = resource.Namespaced ? "Namespaced" : "";
        var collection = resource.Namespaced ? $"{_root}/namespaces/{{namespace}}/{resource.Plural}" : $"{_root}/{resource.Plural}";
        var verbs = resource.Verbs;

        if (verbs.Contains("list") || verbs.Contains("create") || verbs.Contains("deletecollection"))
        {
            writer.WriteStartObject(collection);
            if (verbs.Contains("list"))
                Operation("get", "list", $"list{_name}{scope}{resource.Kind}", gvk, WatchableListParameters, null, list);
            if (verbs.Contains("create"))
                Operation("post", "post", $"create{_name}{scope}{resource.Kind}", gvk, WriteParameters, type, type);
            if (verbs.Contains("deletecollection"))
                Operation("delete", "deletecollection", $"delete{_name}Collection{scope}{resource.Kind}", gvk, DeleteCollectionParameters, Meta + "DeleteOptions", Meta + "Status");
            PathParameters(resource.Namespaced, named: false);
            writer.WriteEndObject();
        }
        if (resource.Namespaced && verbs.Contains("list"))
        {
            writer.WriteStartObject($"{_root}/{resource.Plural}");
            Operation("get", "list", $"list{_name}{resource.Kind}ForAllNamespaces", gvk, WatchableListParameters, null, list);
            PathParameters(namespaced: false, named: false);
            writer.WriteEndObject();
        }
        if (verbs.Contains("get") || verbs.Contains("update") || verbs.Contains("patch") || verbs.Contains("delete"))
        {
            writer.WriteStartObject(collection + "/{name}");
            ObjectOperations(verbs, scope + resource.Kind, gvk, type, custom);
            PathParameters(resource.Namespaced, named: true);
            writer.WriteEndObject();
        }
        if (verbs.Contains("watch"))
            schemas.Include(Meta + "WatchEvent");
        foreach (var sub in resource.Subresources)
        {
            if (sub.Kind.EndsWith("Options", StringComparison.Ordinal))
            {
                Connect(sub, collection, scope + resource.Kind + Pascal(sub.Name), resource.Namespaced);
                continue;
            }
            var subGvk = (sub.Group ?? group, sub.Version ?? version, sub.Kind);
            var subType = sub.Kind == resource.Kind && sub.Group is null ? type : schemas.NameOf(subGvk.Item1, subGvk.Item2, sub.Kind, null);
            var name = scope + resource.Kind + Pascal(sub.Name);
            writer.WriteStartObject($"{collection}/{{name}}/{sub.Name}");
            if (sub.Verbs.Contains("create"))
                Operation("post", "post", $"create{_name}{name}", subGvk, WriteParameters, subType, subType);
            if (sub.Name == "log")
                Operation("get", "get", $"read{_name}{name}", subGvk, ParametersOf("PodLogOptions"), null, null);
            else
                ObjectOperations(sub.Verbs, name, subGvk, subType, custom);
            PathParameters(resource.Namespaced, named: true);
            writer.WriteEndObject();
        }
    }

    /// <summary>A subresource that opens a stream (exec, attach, port-forward, proxy): its options are query parameters, it has no body.</summary>
    private void Connect(OpenApiSubresource sub, string collection, string name, bool namespaced)
    {
        var gvk = (sub.Group ?? group, sub.Version ?? version, sub.Kind);
        var parameters = ParametersOf(sub.Kind);
        writer.WriteStartObject($"{collection}/{{name}}/{sub.Name}");
        foreach (var verb in sub.Verbs)
        {
            var method = verb switch { "create" => "post", "update" => "put", _ => verb };
            Operation(method, "connect", $"connect{_name}{Pascal(method)}{name}", gvk, parameters, null, null);
        }
        PathParameters(namespaced, named: true);
        writer.WriteEndObject();
    }

    private static string[] ParametersOf(string optionsKind) =>
    [
        .. SchemaCatalog.Find("", "v1", optionsKind)?.Fields
            .Where(static f => f.ProtoNumber > 0)
            .Select(static f => f.JsonName + f.Type.Kind switch { ValueKind.Bool => ":boolean", ValueKind.Int64 => ":integer", _ => "" }) ?? [],
    ];

    private void ObjectOperations(IReadOnlyList<string> verbs, string name, (string Group, string Version, string Kind) gvk, string? type, bool custom)
    {
        if (verbs.Contains("get"))
            Operation("get", "get", $"read{_name}{name}", gvk, [], null, type);
        if (verbs.Contains("update"))
            Operation("put", "put", $"replace{_name}{name}", gvk, WriteParameters, type, type);
        if (verbs.Contains("patch"))
            Operation("patch", "patch", $"patch{_name}{name}", gvk, PatchParameters, Meta + "Patch", type, custom);
        if (verbs.Contains("delete"))
            Operation("delete", "delete", $"delete{_name}{name}", gvk, DeleteParameters, Meta + "DeleteOptions", Meta + "Status");
    }

    private void Operation(
        string method,
        string? action,
        string id,
        (string Group, string Version, string Kind)? gvk,
        string[] parameters,
        string? body,
        string? answer,
        bool custom = false)
    {
        writer.WriteStartObject(method);
        writer.WriteStartArray("tags"u8);
        writer.WriteStringValue(_tag);
        writer.WriteEndArray();
        writer.WriteString("operationId"u8, id);
        if (parameters.Length > 0)
        {
            writer.WriteStartArray("parameters"u8);
            foreach (var parameter in parameters)
                Parameter(parameter);
            writer.WriteEndArray();
        }
        if (body is not null)
        {
            writer.WriteStartObject("requestBody"u8);
            writer.WriteStartObject("content"u8);
            if (method == "patch")
            {
                Content("application/json-patch+json", body);
                Content("application/merge-patch+json", body);
                if (!custom)
                    Content("application/strategic-merge-patch+json", body);
                Content("application/apply-patch+yaml", body);
            }
            else
            {
                Content("*/*", body);
            }
            writer.WriteEndObject();
            if (method != "delete")
                writer.WriteBoolean("required"u8, true);
            writer.WriteEndObject();
        }
        writer.WriteStartObject("responses"u8);
        Response("200", "OK", answer);
        if (method is "post" or "put" or "patch")
            Response("201", "Created", answer);
        if (method is "post" or "delete")
            Response("202", "Accepted", answer);
        Response("401", "Unauthorized", null);
        writer.WriteEndObject();
        if (action is not null)
            writer.WriteString("x-kubernetes-action"u8, action);
        if (gvk is { } kind)
        {
            writer.WritePropertyName("x-kubernetes-group-version-kind"u8);
            OpenApiSchemas.WriteKind(writer, kind.Group, kind.Version, kind.Kind);
        }
        writer.WriteEndObject();
    }

    private void Response(string code, string description, string? type)
    {
        writer.WriteStartObject(code);
        writer.WriteString("description"u8, description);
        if (type is not null)
        {
            writer.WriteStartObject("content"u8);
            Content("application/json", type);
            writer.WriteEndObject();
        }
        writer.WriteEndObject();
    }

    private void Content(string mediaType, string type)
    {
        writer.WriteStartObject(mediaType);
        writer.WriteStartObject("schema"u8);
        schemas.WriteReference(type);
        writer.WriteEndObject();
        writer.WriteEndObject();
    }

    private void PathParameters(bool namespaced, bool named)
    {
        writer.WriteStartArray("parameters"u8);
        if (named)
            Parameter("name", isPath: true);
        if (namespaced)
            Parameter("namespace", isPath: true);
        Parameter("pretty");
        writer.WriteEndArray();
    }

    /// <summary>Writes `name` or `name:type`.</summary>
    private void Parameter(string parameter, bool isPath = false)
    {
        var colon = parameter.IndexOf(':', StringComparison.Ordinal);
        writer.WriteStartObject();
        writer.WriteString("name"u8, colon < 0 ? parameter : parameter[..colon]);
        writer.WriteString("in"u8, isPath ? "path"u8 : "query"u8);
        if (isPath)
            writer.WriteBoolean("required"u8, true);
        writer.WriteStartObject("schema"u8);
        writer.WriteString("type"u8, colon < 0 ? "string" : parameter[(colon + 1)..]);
        writer.WriteBoolean("uniqueItems"u8, true);
        writer.WriteEndObject();
        writer.WriteEndObject();
    }

    /// <summary>Group without the common suffix, its parts joined by a separator.</summary>
    private static string Stem(string group, string separator) =>
        group.Replace(".k8s.io", "", StringComparison.Ordinal).Replace(".", separator, StringComparison.Ordinal);

    private static string Pascal(string name) =>
        string.Concat(name.Split('.', '-').Where(static part => part.Length > 0).Select(static part => char.ToUpperInvariant(part[0]) + part[1..]));
}

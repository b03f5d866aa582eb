using k8s.Models;
using Microsoft.OpenApi;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>Makes the document of <see cref="ApiDescription"/>: one operation per resource, verb and subresource. Used once.</summary>
internal sealed class ApiDescriptionBuilder
{
    private const string BearerScheme = "BearerToken";

    private static readonly string[] PatchTypes = [MediaTypes.MergePatch, MediaTypes.StrategicMergePatch, MediaTypes.JsonPatch];
    private static readonly string[] ListOptionNames =
    [
        "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "watch", "allowWatchBookmarks",
        "timeoutSeconds", "pretty",
    ];
    private static readonly string[] WriteOptionNames = ["dryRun", "fieldManager", "fieldValidation", "pretty"];
    private static readonly string[] DeleteOptionNames = ["dryRun", "gracePeriodSeconds", "propagationPolicy"];
    private static readonly string[] LogOptionNames =
        ["container", "follow", "previous", "tailLines", "sinceSeconds", "timestamps", "limitBytes"];

    private readonly OpenApiDocument _document = new();
    private readonly ResourceRegistry _registry;
    private readonly ModelSchemas _schemas;

    public ApiDescriptionBuilder(ResourceRegistry registry)
    {
        _registry = registry;
        _schemas = new ModelSchemas(_document);
    }

    /// <summary>Makes it.</summary>
    public OpenApiDocument Build()
    {
        _document.Info = new OpenApiInfo
        {
            Title = "OrleansCluster",
            Version = "v1.32",
            Description = "The Kubernetes API as this cluster serves it. To try a request, press Authorize and paste a bearer token; "
                + "the administrator's is in the file `token` of the cluster's data folder.",
        };
        _document.Components = new OpenApiComponents
        {
            SecuritySchemes = new Dictionary<string, IOpenApiSecurityScheme>(StringComparer.Ordinal)
            {
                [BearerScheme] = new OpenApiSecurityScheme { Type = SecuritySchemeType.Http, Scheme = "bearer", Description = "A bearer token." },
            },
        };
        _document.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(BearerScheme, _document)] = [] }];
        _document.Paths = [];
        _document.Tags = new HashSet<OpenApiTag>();
        foreach (var definition in _registry.All)
            AddResource(definition);
        foreach (var review in VirtualResource.All)
            AddVirtual(review);
        _document.Components.Schemas = _schemas.All;
        return _document;
    }

    private void AddResource(ResourceDefinition definition)
    {
        var root = Root(definition.Group, definition.Version);
        var tag = Tag(definition.ApiVersion, definition.Plural);
        var collection = definition.Namespaced ? $"{root}/namespaces/{{namespace}}/{definition.Plural}" : $"{root}/{definition.Plural}";
        if (definition.Namespaced && definition.Verbs.Contains(Verbs.List, StringComparer.Ordinal))
        {
            Add($"{root}/{definition.Plural}", HttpMethod.Get, tag, $"list{definition.Kind}ForAllNamespaces",
                $"List or watch {definition.Kind} objects of all namespaces", Query(ListOptionNames), null, Ok(ListSchema(definition)));
        }
        foreach (var verb in definition.Verbs)
            AddVerb(definition, verb, collection, tag);
        foreach (var subresource in definition.Subresources)
        {
            foreach (var verb in subresource.Verbs)
                AddSubresource(definition, subresource, verb, $"{collection}/{{name}}/{subresource.Name}", tag);
        }
    }

    private void AddVerb(ResourceDefinition definition, string verb, string collection, OpenApiTagReference tag)
    {
        var kind = definition.Kind;
        var named = $"{collection}/{{name}}";
        List<IOpenApiParameter> scope = definition.Namespaced ? [InPath("namespace")] : [];
        List<IOpenApiParameter> one = [.. scope, InPath("name")];
        switch (verb)
        {
            case Verbs.List:
                Add(collection, HttpMethod.Get, tag, "list" + kind, $"List or watch {kind} objects", [.. scope, .. Query(ListOptionNames)], null, Ok(ListSchema(definition)));
                break;
            case Verbs.Create:
                Add(collection, HttpMethod.Post, tag, "create" + kind, $"Create a {kind}", [.. scope, .. Query(WriteOptionNames)],
                    Body(Schema(definition), MediaTypes.Json), Ok(Schema(definition), "201"));
                break;
            case Verbs.DeleteCollection:
                Add(collection, HttpMethod.Delete, tag, "deleteCollection" + kind, $"Delete all selected {kind} objects",
                    [.. scope, .. Query("labelSelector", "fieldSelector"), .. Query(DeleteOptionNames)], null, Ok(ListSchema(definition)));
                break;
            case Verbs.Get:
                Add(named, HttpMethod.Get, tag, "read" + kind, $"Read a {kind}", [.. one, .. Query("resourceVersion", "pretty")], null, Ok(Schema(definition)));
                break;
            case Verbs.Update:
                Add(named, HttpMethod.Put, tag, "replace" + kind, $"Replace a {kind}", [.. one, .. Query(WriteOptionNames)],
                    Body(Schema(definition), MediaTypes.Json), Ok(Schema(definition)));
                break;
            case Verbs.Patch:
                Add(named, HttpMethod.Patch, tag, "patch" + kind, $"Patch a {kind}", [.. one, .. Query(WriteOptionNames)],
                    Body(new OpenApiSchema { Type = JsonSchemaType.Object }, PatchTypes), Ok(Schema(definition)));
                break;
            case Verbs.Delete:
                Add(named, HttpMethod.Delete, tag, "delete" + kind, $"Delete a {kind}", [.. one, .. Query(DeleteOptionNames)], null,
                    Ok(definition.DeleteReturnsObject ? Schema(definition) : _schemas.Of(typeof(V1Status))));
                break;
        }
    }

    private void AddSubresource(ResourceDefinition definition, SubresourceDefinition subresource, string verb, string path, OpenApiTagReference tag)
    {
        List<IOpenApiParameter> parameters = definition.Namespaced ? [InPath("namespace"), InPath("name")] : [InPath("name")];
        if (subresource.Name == "log")
            parameters.AddRange(Query(LogOptionNames));
        var id = $"{verb}{definition.Kind}{char.ToUpperInvariant(subresource.Name[0])}{subresource.Name[1..]}";
        var summary = $"{verb} {subresource.Name} of a {definition.Kind}";
        var method = verb switch
        {
            Verbs.Get => HttpMethod.Get,
            Verbs.Create => HttpMethod.Post,
            Verbs.Update => HttpMethod.Put,
            Verbs.Patch => HttpMethod.Patch,
            _ => HttpMethod.Delete,
        };
        if (subresource.Name is "log" or "exec" or "attach" or "portforward" or "proxy")
        {
            Add(path, method, tag, id, summary, parameters, null,
                new OpenApiResponses { ["200"] = new OpenApiResponse { Description = "OK", Content = Content(ModelSchemas.Text(), "text/plain") } });
            return;
        }
        var schema = _schemas.Find(subresource.Group ?? definition.Group, subresource.Version ?? definition.Version, subresource.Kind);
        var body = verb switch
        {
            Verbs.Create or Verbs.Update => Body(schema, MediaTypes.Json),
            Verbs.Patch => Body(new OpenApiSchema { Type = JsonSchemaType.Object }, PatchTypes),
            _ => null,
        };
        Add(path, method, tag, id, summary, parameters, body, Ok(schema, verb == Verbs.Create ? "201" : "200"));
    }

    private void AddVirtual(VirtualResource review)
    {
        var root = Root(review.Group, review.Version);
        var path = review.Namespaced ? $"{root}/namespaces/{{namespace}}/{review.Plural}" : $"{root}/{review.Plural}";
        var schema = _schemas.Find(review.Group, review.Version, review.Kind);
        Add(path, HttpMethod.Post, Tag(review.ApiVersion, review.Plural), "create" + review.Kind + (review.Plural == "bindings" ? "OfBody" : ""),
            $"Create a {review.Kind}", review.Namespaced ? [InPath("namespace")] : [], Body(schema, MediaTypes.Json), Ok(schema, "201"));
    }

    private void Add(
        string path, HttpMethod method, OpenApiTagReference tag, string id, string summary, IList<IOpenApiParameter> parameters,
        OpenApiRequestBody? body, OpenApiResponses responses)
    {
        if (!_document.Paths.TryGetValue(path, out var item))
            _document.Paths.Add(path, item = new OpenApiPathItem { Operations = [] });
        item.Operations![method] = new OpenApiOperation
        {
            Tags = new HashSet<OpenApiTagReference> { tag },
            OperationId = id,
            Summary = summary,
            Parameters = parameters,
            RequestBody = body,
            Responses = responses,
        };
    }

    private OpenApiTagReference Tag(string apiVersion, string plural)
    {
        var name = $"{apiVersion} {plural}";
        _document.Tags!.Add(new OpenApiTag { Name = name });
        return new OpenApiTagReference(name, _document);
    }

    private IOpenApiSchema Schema(ResourceDefinition definition) => _schemas.Find(definition.Group, definition.Version, definition.Kind);

    private IOpenApiSchema ListSchema(ResourceDefinition definition) =>
        _schemas.Find(definition.Group, definition.Version, definition.Kind + "List");

    private static string Root(string group, string version) => group.Length == 0 ? $"/api/{version}" : $"/apis/{group}/{version}";

    private static OpenApiResponses Ok(IOpenApiSchema schema, string code = "200") =>
        new() { [code] = new OpenApiResponse { Description = code == "201" ? "Created" : "OK", Content = Content(schema, MediaTypes.Json) } };

    private static OpenApiRequestBody Body(IOpenApiSchema schema, params string[] mediaTypes) =>
        new() { Required = true, Content = Content(schema, mediaTypes) };

    private static Dictionary<string, IOpenApiMediaType> Content(IOpenApiSchema schema, params string[] mediaTypes) =>
        mediaTypes.ToDictionary(m => m, IOpenApiMediaType (_) => new OpenApiMediaType { Schema = schema }, StringComparer.Ordinal);

    private static OpenApiParameter InPath(string name) =>
        new() { Name = name, In = ParameterLocation.Path, Required = true, Schema = ModelSchemas.Text() };

    private static List<IOpenApiParameter> Query(params string[] names) =>
        [.. names.Select(n => new OpenApiParameter { Name = n, In = ParameterLocation.Query, Schema = ModelSchemas.Text() })];
}

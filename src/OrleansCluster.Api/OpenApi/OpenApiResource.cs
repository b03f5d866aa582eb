using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>A subresource as the OpenAPI document describes it.</summary>
/// <param name="Name">Last part of the path, e.g. `status`.</param>
/// <param name="Kind">Kind of its body.</param>
/// <param name="Verbs">Verbs in discovery's spelling.</param>
/// <param name="Group">Group of its kind where it is not the resource's, else null.</param>
/// <param name="Version">Version of its kind where it is not the resource's, else null.</param>
public sealed record OpenApiSubresource(string Name, string Kind, IReadOnlyList<string> Verbs, string? Group = null, string? Version = null);

/// <summary>A resource as the OpenAPI document describes it.</summary>
/// <param name="Plural">Plural name in paths.</param>
/// <param name="Kind">Kind of its objects.</param>
/// <param name="Namespaced">True where objects live in namespaces.</param>
/// <param name="Verbs">Verbs in discovery's spelling.</param>
public sealed record OpenApiResource(string Plural, string Kind, bool Namespaced, IReadOnlyList<string> Verbs)
{
    /// <summary>Subresources.</summary>
    public IReadOnlyList<OpenApiSubresource> Subresources { get; init; } = [];

    /// <summary>
    /// Schema of a custom resource (`openAPIV3Schema` of its version); null for built-in kinds. For a custom resource without a schema use an
    /// empty object.
    /// </summary>
    public JsonObject? CustomSchema { get; init; }

    /// <summary>Describes a registered resource.</summary>
    public static OpenApiResource From(ResourceDefinition definition, JsonObject? customSchema = null) =>
        new(definition.Plural, definition.Kind, definition.Namespaced, definition.Verbs)
        {
            Subresources = [.. definition.Subresources.Select(static s => new OpenApiSubresource(s.Name, s.Kind, s.Verbs, s.Group, s.Version))],
            CustomSchema = customSchema,
        };
}

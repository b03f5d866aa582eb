using System.Reflection;
using System.Text.Json;
using k8s.Models;
using Microsoft.OpenApi;
using Swashbuckle.AspNetCore.SwaggerGen;

namespace OrleansCluster.ApiServer;

/// <summary>Schemas of kinds by Swashbuckle's generator, from the official C# models.</summary>
internal sealed class ModelSchemas
{
    private readonly SchemaRepository _schemas = new(ApiDescription.DocumentName);
    private readonly SchemaGenerator _generator;
    private readonly Dictionary<(string Group, string Version, string Kind), Type> _models;
    private readonly OpenApiDocument _document;

    public ModelSchemas(OpenApiDocument document)
    {
        _document = document;
        var options = new SchemaGeneratorOptions
        {
            SchemaIdSelector = type => type.Name,
            CustomTypeMappings = new Dictionary<Type, Func<IOpenApiSchema>>
            {
                [typeof(ResourceQuantity)] = () => Text("Amount such as 500m, 2 or 1Gi."),
                [typeof(IntOrString)] = () => Text("A number or a text such as 25%."),
                [typeof(byte[])] = () => new OpenApiSchema { Type = JsonSchemaType.String, Format = "byte" },
                [typeof(DateTime)] = () => new OpenApiSchema { Type = JsonSchemaType.String, Format = "date-time" },
                [typeof(JsonElement)] = () => new OpenApiSchema { Type = JsonSchemaType.Object },
                [typeof(object)] = () => new OpenApiSchema { Type = JsonSchemaType.Object },
            },
        };
        _generator = new SchemaGenerator(options, new JsonSerializerDataContractResolver(new JsonSerializerOptions(JsonSerializerDefaults.Web), options));
        _models = typeof(V1Pod).Assembly.GetExportedTypes()
            .Select(type => (Type: type, Entity: type.GetCustomAttribute<KubernetesEntityAttribute>(inherit: false)))
            .Where(m => m.Entity is not null)
            .GroupBy(m => (m.Entity!.Group ?? "", m.Entity.ApiVersion ?? "", m.Entity.Kind ?? ""))
            .ToDictionary(g => g.Key, g => g.First().Type);
    }

    /// <summary>All schemas made so far, by name.</summary>
    public IDictionary<string, IOpenApiSchema> All => new Dictionary<string, IOpenApiSchema>(_schemas.Schemas, StringComparer.Ordinal);

    /// <summary>The schema of a kind; a plain object for one that has no model.</summary>
    public IOpenApiSchema Find(string group, string version, string kind) =>
        _models.TryGetValue((group, version, kind), out var type) ? Of(type) : new OpenApiSchema { Type = JsonSchemaType.Object };

    /// <summary>The schema of a model.</summary>
    public IOpenApiSchema Of(Type type) =>
        // References made by the generator belong to no document yet; the serializer needs one to resolve them.
        _generator.GenerateSchema(type, _schemas, null, null, null) is OpenApiSchemaReference reference
            ? new OpenApiSchemaReference(reference.Reference.Id!, _document)
            : new OpenApiSchema { Type = JsonSchemaType.Object };

    /// <summary>A string.</summary>
    public static OpenApiSchema Text(string description = "") =>
        new() { Type = JsonSchemaType.String, Description = description.Length == 0 ? null : description };
}

using Microsoft.OpenApi;
using OrleansCluster.Api;
using Swashbuckle.AspNetCore.Swagger;

namespace OrleansCluster.ApiServer;

/// <summary>
/// The document behind Swagger UI: every resource and verb of the registry, with schemas that Swashbuckle makes of the official C# models. Made
/// when the page is opened and held weakly, so that it costs neither start time nor idle memory. (kubectl reads `/openapi/v3` instead,
/// which knows patch strategies and validation.)
/// </summary>
internal sealed class ApiDescription(ResourceRegistry registry) : ISwaggerProvider, IAsyncSwaggerProvider
{
    /// <summary>Name of the one document.</summary>
    public const string DocumentName = "v1";

    private readonly Lock _lock = new();
    private readonly WeakReference<OpenApiDocument?> _made = new(null);

    /// <inheritdoc/>
    public Task<OpenApiDocument> GetSwaggerAsync(string documentName, string? host = null, string? basePath = null) =>
        Task.FromResult(GetSwagger(documentName, host, basePath));

    /// <inheritdoc/>
    public OpenApiDocument GetSwagger(string documentName, string? host = null, string? basePath = null)
    {
        if (documentName != DocumentName)
            throw new UnknownSwaggerDocument(documentName, [DocumentName]);
        lock (_lock)
        {
            if (_made.TryGetTarget(out var known) && known is not null)
                return known;
            var document = new ApiDescriptionBuilder(registry).Build();
            _made.SetTarget(document);
            return document;
        }
    }
}

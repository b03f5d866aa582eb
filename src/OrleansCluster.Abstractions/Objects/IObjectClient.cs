using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster;

/// <summary>
/// Reads and writes API objects from inside the cluster: reads from the process's cache, writes through the object's grain. A refused request
/// throws <see cref="StatusException"/>; calls of unknown outcome are retried with the same uid and expected revision, bounded and jittered.
/// </summary>
public interface IObjectClient
{
    /// <summary>One object with its resourceVersion, or null; not older than this client's own writes.</summary>
    ValueTask<ICachedObject?> GetAsync(ObjectKey key, CancellationToken cancellationToken);

    /// <summary>A snapshot of a resource; not older than this client's own writes.</summary>
    ValueTask<ICacheSnapshot> ListAsync(string resource, CancellationToken cancellationToken);

    /// <summary>Creates an object. With `metadata.generateName` and no name, the name is chosen here. Returns it as stored.</summary>
    Task<JsonObject> CreateAsync(string resource, JsonObject obj, CancellationToken cancellationToken);

    /// <summary>Replaces an object; `metadata.resourceVersion`, if present, must be the current one.</summary>
    Task<JsonObject> UpdateAsync(ObjectKey key, JsonObject obj, CancellationToken cancellationToken, string subresource = "");

    /// <summary>Applies a merge patch (RFC 7386).</summary>
    Task<JsonObject> PatchAsync(ObjectKey key, JsonObject mergePatch, CancellationToken cancellationToken, string subresource = "");

    /// <summary>Deletes an object. Returns false if it was not there.</summary>
    Task<bool> DeleteAsync(ObjectKey key, DeleteOptions options, CancellationToken cancellationToken);
}

/// <summary>Records Kubernetes Events; repeats of the same event are counted in one object.</summary>
public interface IEventRecorder
{
    /// <summary>Records an event about an object. Never fails and never waits for storage: events are best effort, the buffer is bounded.</summary>
    /// <param name="about">The object: `kind`, `apiVersion` and `metadata` are read.</param>
    /// <param name="type">`Normal` or `Warning`.</param>
    /// <param name="reason">CamelCase reason, e.g. `SuccessfulCreate`.</param>
    /// <param name="message">Text for people.</param>
    /// <param name="fieldPath">Part of the object, e.g. `spec.containers{web}`.</param>
    void Record(JsonObject about, string type, string reason, string message, string? fieldPath = null);
}

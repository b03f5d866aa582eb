using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Images;

/// <summary>An image of the engine.</summary>
/// <param name="Id">The engine's id (<c>sha256:…</c>).</param>
/// <param name="Names">Its names: tags and digests.</param>
/// <param name="SizeBytes">Its size on disk, bytes.</param>
/// <param name="User">The user it runs as, as the image says (<c>1654</c>, <c>app</c>, <c>0:0</c>), or empty.</param>
/// <param name="CreatedAt">When it was built.</param>
public sealed record ContainerImage(string Id, IReadOnlyList<string> Names, long SizeBytes, string User, DateTimeOffset CreatedAt);

/// <summary>One step of a pull.</summary>
/// <param name="Status">What the engine says it does.</param>
/// <param name="LayerId">The layer it speaks of, or null.</param>
/// <param name="CurrentBytes">Bytes done, 0 if unknown.</param>
/// <param name="TotalBytes">Bytes in all, 0 if unknown.</param>
public sealed record PullProgress(string Status, string? LayerId, long CurrentBytes, long TotalBytes);

/// <summary>The images of a container engine. Several nodes may share one engine and so its images.</summary>
public interface IImageStore
{
    /// <summary>The image of that name or id, or null when it is absent; a name that cannot be parsed is <see cref="RuntimeFailure.InvalidImageName"/>.</summary>
    Task<ContainerImage?> FindAsync(string image, CancellationToken cancellationToken);

    /// <summary>Pulls an image without credentials; concurrent pulls of one name are one pull.</summary>
    /// <returns>The image as it is now.</returns>
    Task<ContainerImage> PullAsync(string image, IProgress<PullProgress>? progress, CancellationToken cancellationToken);

    /// <summary>All images that have a name.</summary>
    Task<IReadOnlyList<ContainerImage>> ListAsync(CancellationToken cancellationToken);

    /// <summary>Removes an image; an absent one is a success, one in use is <see cref="RuntimeFailure.Other"/>.</summary>
    Task RemoveAsync(string image, CancellationToken cancellationToken);
}

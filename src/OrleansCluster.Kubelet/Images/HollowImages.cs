using System.Security.Cryptography;
using System.Text;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Images;

/// <summary>The images of a node that runs nothing: names, remembered once they were pulled.</summary>
internal sealed class HollowImages(HollowRuntimeOptions options, TimeProvider time) : IImageStore
{
    private const long SizeBytes = 1 << 20;

    private readonly Lock _lock = new();
    private readonly HashSet<string> _pulled = new(StringComparer.Ordinal);

    public static string IdOf(string image) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(image)));

    public bool IsPresent(string image)
    {
        lock (_lock)
        {
            return !options.MissingImages.Contains(image) && (options.AllImagesPresent || _pulled.Contains(image));
        }
    }

    public Task<ContainerImage?> FindAsync(string image, CancellationToken cancellationToken)
    {
        Check(image);
        return Task.FromResult(IsPresent(image) ? Describe(image) : null);
    }

    public async Task<ContainerImage> PullAsync(string image, IProgress<PullProgress>? progress, CancellationToken cancellationToken)
    {
        Check(image);
        if (options.PullLatency > TimeSpan.Zero)
        {
            await Task.Delay(options.PullLatency, time, cancellationToken);
        }

        lock (_lock)
        {
            if (options.MissingImages.Contains(image))
            {
                throw new RuntimeException(RuntimeFailure.ImagePull, $"failed to pull image \"{image}\": {image}: not found");
            }

            _pulled.Add(image);
        }

        progress?.Report(new PullProgress("Pull complete", LayerId: null, SizeBytes, SizeBytes));
        return Describe(image);
    }

    public Task<IReadOnlyList<ContainerImage>> ListAsync(CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            return Task.FromResult<IReadOnlyList<ContainerImage>>([.. _pulled.Select(Describe)]);
        }
    }

    public Task RemoveAsync(string image, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            _pulled.Remove(image);
        }

        return Task.CompletedTask;
    }

    private static ContainerImage Describe(string image) => new(IdOf(image), [image], SizeBytes, "", DateTimeOffset.UnixEpoch);

    private static void Check(string image)
    {
        if (!ImageReference.TryParse(image, out _))
        {
            throw new RuntimeException(
                RuntimeFailure.InvalidImageName,
                $"Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format");
        }
    }
}

using System.Formats.Tar;
using Docker.DotNet.Models;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Images;

/// <summary>The images of a Docker Engine.</summary>
internal sealed class DockerImageStore(DockerEngine engine) : IImageStore
{
    /// <summary>The sandbox image's usual name; what is embedded here gets it unless the engine already has one of that name.</summary>
    public const string PauseImage = "registry.k8s.io/pause:3.10";

    private readonly Dictionary<string, Task<ContainerImage>> _pulls = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();

    public async Task<ContainerImage?> FindAsync(string image, CancellationToken cancellationToken)
    {
        var name = NameOf(image);
        try
        {
            return await engine.CallAsync(
                RuntimeFailure.ImageInspect,
                async token =>
                {
                    var found = await engine.Client.Images.InspectImageAsync(name, token);
                    return new ContainerImage(
                        found.ID,
                        [.. found.RepoTags ?? [], .. found.RepoDigests ?? []],
                        found.Size,
                        found.Config?.User ?? "",
                        found.Created is { } created ? new DateTimeOffset(DateTime.SpecifyKind(created, DateTimeKind.Utc)) : default);
                },
                cancellationToken);
        }
        catch (RuntimeException e) when (DockerEngine.IsNotFound(e))
        {
            return null;
        }
    }

    public async Task<ContainerImage> PullAsync(string image, IProgress<PullProgress>? progress, CancellationToken cancellationToken)
    {
        if (!ImageReference.TryParse(image, out var reference))
        {
            throw InvalidName(image);
        }

        // The pull itself belongs to nobody in particular: one caller leaving must not end it for the others.
        // It ends by itself; a connection that hangs is ended by the engine's own registry time-outs.
        Task<ContainerImage>? pull;
        lock (_lock)
        {
            if (!_pulls.TryGetValue(image, out pull))
            {
                pull = PullOnceAsync(image, reference, progress);
                _pulls[image] = pull;
            }
        }

        return await pull.WaitAsync(cancellationToken);
    }

    public async Task<IReadOnlyList<ContainerImage>> ListAsync(CancellationToken cancellationToken) => await engine.CallAsync(
        RuntimeFailure.Other,
        async token =>
        {
            var images = await engine.Client.Images.ListImagesAsync(new ImagesListParameters(), token);
            return images
                .Select(image => new ContainerImage(
                    image.ID,
                    [.. (image.RepoTags ?? []).Concat(image.RepoDigests ?? []).Where(name => !name.Contains("<none>", StringComparison.Ordinal))],
                    image.Size,
                    "",
                    new DateTimeOffset(DateTime.SpecifyKind(image.Created, DateTimeKind.Utc))))
                .Where(image => image.Names.Count > 0)
                .ToList();
        },
        cancellationToken);

    public async Task RemoveAsync(string image, CancellationToken cancellationToken)
    {
        try
        {
            await engine.ChangeAsync(
                RuntimeFailure.Other,
                token => engine.Client.Images.DeleteImageAsync(NameOf(image), new ImageDeleteParameters(), token),
                cancellationToken);
        }
        catch (RuntimeException e) when (DockerEngine.IsNotFound(e))
        {
            // Gone is what was asked for.
        }
    }

    /// <summary>
    /// Sees to the sandbox image: what the engine has under that name, else the embedded one (x86-64 Linux), else a pull of the upstream image.
    /// </summary>
    public async Task EnsurePauseImageAsync(string name, string architecture, CancellationToken cancellationToken)
    {
        if (await FindAsync(name, cancellationToken) is not null)
        {
            return;
        }

        if (name != PauseImage || architecture != "amd64")
        {
            await PullAsync(name, progress: null, cancellationToken);
            return;
        }

        var reference = ImageReference.TryParse(name, out var parsed) ? parsed : throw InvalidName(name);
        var archive = await PauseArchiveAsync(cancellationToken);
        await engine.ChangeAsync(
            RuntimeFailure.ImagePull,
            token => engine.Client.Images.CreateImageAsync(
                new ImagesCreateParameters
                {
                    FromSrc = "-",
                    Repo = reference.Repository,
                    Tag = reference.TagOrDigest,
                    Changes = ["ENTRYPOINT [\"/pause\"]", "USER 65535:65535"],
                },
                archive,
                new AuthConfig(),
                new Messages(_ => { }),
                token),
            cancellationToken);
    }

    private static async Task<MemoryStream> PauseArchiveAsync(CancellationToken cancellationToken)
    {
        var archive = new MemoryStream();
        await using var program = typeof(DockerImageStore).Assembly.GetManifestResourceStream("pause-linux-amd64")
            ?? throw new InvalidOperationException("the pause program is not embedded in this build");
        await using (var tar = new TarWriter(archive, TarEntryFormat.Ustar, leaveOpen: true))
        {
            await tar.WriteEntryAsync(
                new UstarTarEntry(TarEntryType.RegularFile, "pause")
                {
                    DataStream = program,
                    ModificationTime = DateTimeOffset.UnixEpoch,
                    Mode = (UnixFileMode)0b111_101_101,
                },
                cancellationToken);
        }

        archive.Position = 0;
        return archive;
    }

    private static RuntimeException InvalidName(string image) => new(
        RuntimeFailure.InvalidImageName,
        $"Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format");

    private static string NameOf(string image) =>
        image.StartsWith("sha256:", StringComparison.Ordinal) || ImageReference.TryParse(image, out _) ? image : throw InvalidName(image);

    private async Task<ContainerImage> PullOnceAsync(string image, ImageReference reference, IProgress<PullProgress>? progress)
    {
        // Under the caller's lock up to here; and the entry must be there before it is removed.
        await Task.Yield();
        try
        {
            string? error = null;
            var messages = new Messages(message =>
            {
                error ??= message.Error?.Message;
                if (message.Status is { } status)
                {
                    progress?.Report(new(status, message.ID, message.Progress?.Current ?? 0, message.Progress?.Total ?? 0));
                }
            });
            try
            {
                await engine.Client.Images.CreateImageAsync(
                    new ImagesCreateParameters { FromImage = reference.Repository, Tag = reference.TagOrDigest },
                    new AuthConfig(),
                    messages,
                    CancellationToken.None);
            }
            catch (Exception e) when (DockerEngine.Translate(e, RuntimeFailure.ImagePull) is { } translated)
            {
                throw new RuntimeException(translated.Failure, $"failed to pull image \"{image}\": {translated.Message}", e);
            }

            return error is null
                ? await FindAsync(image, CancellationToken.None)
                    ?? throw new RuntimeException(RuntimeFailure.ImagePull, $"image \"{image}\" was pulled but is not there")
                : throw new RuntimeException(RuntimeFailure.ImagePull, $"failed to pull image \"{image}\": {error}");
        }
        finally
        {
            lock (_lock)
            {
                _pulls.Remove(image);
            }
        }
    }

    /// <summary>Reports in the caller's thread and in order, which <see cref="Progress{T}"/> does not promise.</summary>
    private sealed class Messages(Action<JSONMessage> report) : IProgress<JSONMessage>
    {
        public void Report(JSONMessage value) => report(value);
    }
}

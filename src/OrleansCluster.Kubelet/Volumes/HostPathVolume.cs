using System.Text.Json;

namespace OrleansCluster.Kubelet.Volumes;

/// <summary>`hostPath`: a path of the node.</summary>
internal sealed class HostPathVolume : IVolumeType
{
    public string Field => "hostPath";

    public Task<string> SetUpAsync(VolumeRequest request, JsonElement source, CancellationToken cancellationToken)
    {
        var path = source.GetProperty("path").GetString()!;
        if (!request.Materialise)
            return Task.FromResult(path);
        var found = Native.TypeOf(path);
        switch (source.TryGetProperty("type", out var type) ? type.GetString() ?? "" : "")
        {
            case "":
                // No check is asked for; an engine makes a directory of what is missing.
                if (found == FileType.None)
                    Directory.CreateDirectory(path);
                break;
            case "DirectoryOrCreate":
                if (found == FileType.None)
                    Directory.CreateDirectory(path);
                else
                    Require(found, FileType.Directory, path, "a directory");
                break;
            case "Directory":
                Require(found, FileType.Directory, path, "a directory");
                break;
            case "FileOrCreate":
                if (found == FileType.None)
                    File.Create(path).Dispose();
                else
                    Require(found, FileType.File, path, "a file");
                break;
            case "File":
                Require(found, FileType.File, path, "a file");
                break;
            case "Socket":
                Require(found, FileType.Socket, path, "a socket file");
                break;
            case "CharDevice":
                Require(found, FileType.CharacterDevice, path, "a character device");
                break;
            case "BlockDevice":
                Require(found, FileType.BlockDevice, path, "a block device");
                break;
            case var other:
                throw new VolumeException($"unknown hostPath type: {other}");
        }
        return Task.FromResult(path);
    }

    private static void Require(FileType found, FileType wanted, string path, string what)
    {
        if (found != wanted)
            throw new VolumeException($"hostPath type check failed: {path} is not {what}");
    }
}

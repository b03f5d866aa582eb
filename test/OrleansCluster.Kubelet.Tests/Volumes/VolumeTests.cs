using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Tests.Support;
using OrleansCluster.Kubelet.Variables;
using OrleansCluster.Kubelet.Volumes;
using static OrleansCluster.Kubelet.Tests.Support.PodJsonBuilder;

namespace OrleansCluster.Kubelet.Tests.Volumes;

[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class VolumeTests : IDisposable
{
    private static readonly PodFacts Facts = new("node-1", "10.0.0.1", null, 4, 8L << 30);

    private readonly TemporaryDirectory _directory = new();
    private readonly FakeControlPlane _controlPlane = new();
    private readonly PodVolumes _volumes;

    public VolumeTests() => _volumes = new PodVolumes(new NodeObjects(_controlPlane), TimeProvider.System, materialise: true);

    private string PodDirectory => Path.Combine(_directory.Path, "pod");

    public void Dispose()
    {
        _volumes.TearDown(PodDirectory);
        _directory.Dispose();
    }

    private async Task<string> SetUpAsync(string type, JsonObject source, Action<JsonObject>? change = null)
    {
        var pod = Pod();
        pod.Spec()["volumes"] = new JsonArray(new JsonObject { ["name"] = "v", [type] = source });
        change?.Invoke(pod);
        return (await _volumes.SetUpAsync(pod.Parse(), Facts, PodDirectory, TestContext.Current.CancellationToken))["v"];
    }

    private void PutConfigMap(JsonObject data) => _controlPlane.Put("configmaps", new JsonObject
    {
        ["metadata"] = new JsonObject { ["name"] = "settings", ["namespace"] = "default" },
        ["data"] = data,
    });

    private static string Text(string path) => File.ReadAllText(path);

    private static JsonObject Named(string name) => new() { ["name"] = name };

    [Fact]
    public async Task Config_map_keys_are_files_that_change_together()
    {
        PutConfigMap(new JsonObject { ["a"] = "1", ["b"] = "1" });
        var path = await SetUpAsync("configMap", Named("settings"));
        Assert.Equal("1", Text(Path.Combine(path, "a")));
        var first = new DirectoryInfo(Path.Combine(path, "..data")).LinkTarget;

        await SetUpAsync("configMap", Named("settings"));
        Assert.Equal(first, new DirectoryInfo(Path.Combine(path, "..data")).LinkTarget);

        PutConfigMap(new JsonObject { ["a"] = "2", ["c"] = "2" });
        await SetUpAsync("configMap", Named("settings"));
        Assert.Equal("2", Text(Path.Combine(path, "a")));
        Assert.Equal("2", Text(Path.Combine(path, "c")));
        Assert.False(Path.Exists(Path.Combine(path, "b")));
        Assert.False(Directory.Exists(Path.Combine(path, first!)));
    }

    [Fact]
    public async Task Items_choose_keys_paths_and_modes()
    {
        PutConfigMap(new JsonObject { ["a"] = "1", ["b"] = "2" });
        var source = Named("settings");
        source["defaultMode"] = 256; // 0400
        source["items"] = new JsonArray(
            new JsonObject { ["key"] = "a", ["path"] = "sub/first" }, new JsonObject { ["key"] = "b", ["path"] = "second", ["mode"] = 448 });
        var path = await SetUpAsync("configMap", source);
        Assert.Equal("1", Text(Path.Combine(path, "sub/first")));
        Assert.False(Path.Exists(Path.Combine(path, "a")));
        Assert.Equal(UnixFileMode.UserRead, File.GetUnixFileMode(Path.Combine(path, "..data/sub/first")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.Combine(path, "..data/second")));
    }

    [Theory]
    [InlineData("configMap", "name", "configmap \"none\" not found")]
    [InlineData("secret", "secretName", "secret \"none\" not found")]
    public async Task Missing_object_is_named_unless_optional(string type, string field, string message)
    {
        var failure = await Assert.ThrowsAsync<VolumeException>(() => SetUpAsync(type, new JsonObject { [field] = "none" }));
        Assert.Equal($"MountVolume.SetUp failed for volume \"v\" : {message}", failure.Message);
        Assert.NotEmpty(await SetUpAsync(type, new JsonObject { [field] = "none", ["optional"] = true }));
    }

    [Fact]
    public async Task Files_stay_while_the_control_plane_is_away()
    {
        PutConfigMap(new JsonObject { ["a"] = "1" });
        var path = await SetUpAsync("configMap", Named("settings"));
        _controlPlane.Down = true;
        var restarted = new PodVolumes(new NodeObjects(_controlPlane), TimeProvider.System, materialise: true);
        var pod = Pod();
        pod.Spec()["volumes"] = new JsonArray(new JsonObject { ["name"] = "v", ["configMap"] = Named("settings") });
        var paths = await restarted.SetUpAsync(pod.Parse(), Facts, PodDirectory, TestContext.Current.CancellationToken);
        Assert.Equal(path, paths["v"]);
        Assert.Equal("1", Text(Path.Combine(path, "a")));
    }

    [Fact]
    public async Task Projected_gathers_and_refuses_what_it_cannot()
    {
        PutConfigMap(new JsonObject { ["a"] = "1" });
        var path = await SetUpAsync("projected", new JsonObject
        {
            ["sources"] = new JsonArray(
                new JsonObject { ["configMap"] = Named("settings") },
                new JsonObject { ["downwardAPI"] = new JsonObject { ["items"] = new JsonArray(new JsonObject { ["path"] = "name", ["fieldRef"] = new JsonObject { ["fieldPath"] = "metadata.name" } }) } }),
        });
        Assert.Equal("1", Text(Path.Combine(path, "a")));
        Assert.Equal("web", Text(Path.Combine(path, "name")));

        var failure = await Assert.ThrowsAsync<VolumeException>(() => SetUpAsync("projected", new JsonObject
        {
            ["sources"] = new JsonArray(new JsonObject { ["serviceAccountToken"] = new JsonObject { ["path"] = "token" } }),
        }));
        Assert.Contains("serviceAccountToken is not supported", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Unknown_type_is_named()
    {
        var failure = await Assert.ThrowsAsync<VolumeException>(() => SetUpAsync("persistentVolumeClaim", Named("x")));
        Assert.Contains("persistentVolumeClaim is not supported", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Empty_dir_keeps_what_was_written_and_is_open_to_all()
    {
        var path = await SetUpAsync("emptyDir", []);
        await File.WriteAllTextAsync(Path.Combine(path, "x"), "kept", TestContext.Current.CancellationToken);
        Assert.Equal(path, await SetUpAsync("emptyDir", []));
        Assert.Equal("kept", Text(Path.Combine(path, "x")));
        Assert.Equal((UnixFileMode)0b111_111_111, File.GetUnixFileMode(path));
    }

    [Fact]
    public async Task Empty_dir_in_memory_is_unmounted_at_the_end()
    {
        var path = await SetUpAsync("emptyDir", new JsonObject { ["medium"] = "Memory", ["sizeLimit"] = "1Mi" });
        await File.WriteAllTextAsync(Path.Combine(path, "x"), "y", TestContext.Current.CancellationToken);
        _volumes.TearDown(PodDirectory);
        Assert.False(Directory.Exists(PodDirectory));
        Assert.DoesNotContain(PodDirectory, Text("/proc/self/mounts"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Directory", "dir", true)]
    [InlineData("Directory", "file", false)]
    [InlineData("Directory", "none", false)]
    [InlineData("DirectoryOrCreate", "none", true)]
    [InlineData("File", "file", true)]
    [InlineData("File", "dir", false)]
    [InlineData("FileOrCreate", "none", true)]
    [InlineData("CharDevice", "/dev/null", true)]
    [InlineData("CharDevice", "file", false)]
    [InlineData("", "none", true)]
    public async Task Host_path_is_checked(string type, string name, bool accepted)
    {
        Directory.CreateDirectory(Path.Combine(_directory.Path, "dir"));
        await File.WriteAllTextAsync(Path.Combine(_directory.Path, "file"), "", TestContext.Current.CancellationToken);
        var path = Path.Combine(_directory.Path, name);
        var source = new JsonObject { ["path"] = path, ["type"] = type };
        if (accepted)
            Assert.Equal(path, await SetUpAsync("hostPath", source));
        else
            Assert.Contains("hostPath type check failed", (await Assert.ThrowsAsync<VolumeException>(() => SetUpAsync("hostPath", source))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sub_path_is_made_and_cannot_lead_out()
    {
        var volume = Directory.CreateDirectory(Path.Combine(_directory.Path, "volume")).FullName;
        Assert.Equal(Path.Combine(volume, "a/b"), SubPath.Resolve(volume, "a/b"));
        Assert.True(Directory.Exists(Path.Combine(volume, "a/b")));
        Assert.Throws<VolumeException>(() => SubPath.Resolve(volume, "../x"));
        Assert.Throws<VolumeException>(() => SubPath.Resolve(volume, "/etc"));
        Directory.CreateSymbolicLink(Path.Combine(volume, "out"), "/etc");
        Assert.Throws<VolumeException>(() => SubPath.Resolve(volume, "out/x"));
        Directory.CreateSymbolicLink(Path.Combine(volume, "in"), "a");
        Assert.Equal(Path.Combine(volume, "a/b"), SubPath.Resolve(volume, "in/b"));
    }
}

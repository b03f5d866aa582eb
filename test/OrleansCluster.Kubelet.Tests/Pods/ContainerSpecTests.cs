using System.Text;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Runtime;
using OrleansCluster.Kubelet.Variables;

namespace OrleansCluster.Kubelet.Tests.Pods;

public sealed class ContainerSpecTests : IDisposable
{
    private readonly string _pod = Directory.CreateTempSubdirectory("container-spec-").FullName;

    public void Dispose() => Directory.Delete(_pod, recursive: true);

    [Theory]
    [InlineData("configMap", "", true)]
    [InlineData("secret", "", true)]
    [InlineData("projected", "", true)]
    [InlineData("downwardAPI", "", true)]
    [InlineData("emptyDir", "", false)]
    [InlineData("hostPath", "", false)]
    [InlineData("emptyDir", "\"readOnly\":true,", true)]
    public void Only_volumes_that_the_agent_does_not_write_are_writable(string type, string readOnly, bool expected)
    {
        var mount = Build($$"""[{"name":"v",{{readOnly}}"mountPath":"/data"}]""", type).Mounts.Single(m => m.ContainerPath == "/data");
        Assert.Equal(expected, mount.ReadOnly);
    }

    [Theory]
    [InlineData("../../etc")]
    [InlineData("a/../../b")]
    [InlineData("/etc")]
    [InlineData("link")]
    [InlineData("link/passwd")]
    [InlineData("inner/up")]
    public void A_sub_path_never_leaves_its_volume(string subPath)
    {
        var volume = Directory.CreateDirectory(Path.Combine(_pod, "volume")).FullName;
        File.CreateSymbolicLink(Path.Combine(volume, "link"), "/etc");
        Directory.CreateDirectory(Path.Combine(volume, "inner"));
        File.CreateSymbolicLink(Path.Combine(volume, "inner", "up"), "../..");
        Assert.Throws<ContainerConfigException>(() => Build($$"""[{"name":"v","mountPath":"/data","subPath":"{{subPath}}"}]""", "emptyDir"));
    }

    private ContainerSpec Build(string mounts, string volumeType)
    {
        var volume = Directory.CreateDirectory(Path.Combine(_pod, "volume")).FullName;
        var pod = PodDocument.Parse(Encoding.UTF8.GetBytes(
            $$"""
            {"metadata":{"name":"p","namespace":"n","uid":"u"},
             "spec":{"containers":[{"name":"c","image":"i","volumeMounts":{{mounts}}}],"volumes":[{"name":"v","{{volumeType}}":{} }]} }
            """));
        return ContainerSpecBuilder.Build(new ContainerIngredients
        {
            Pod = pod,
            Container = pod.Spec.Containers[0],
            Attempt = 0,
            Image = new ContainerImage("sha256:1", ["i"], 1, "", DateTimeOffset.UnixEpoch),
            Environment = [],
            Volumes = new Dictionary<string, string>(StringComparer.Ordinal) { ["v"] = volume },
            PodDirectory = _pod,
            NodeMemory = 1 << 30,
        });
    }
}

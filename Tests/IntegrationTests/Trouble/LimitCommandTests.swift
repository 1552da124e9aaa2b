import LabSupport
import Testing

/// Limits as people set and see them, with whatever rights the fabric's owner has.
@Suite(.serialized, .enabled(if: Lab.isAvailable())) struct LimitCommandTests {
    @Test(arguments: owners)
    func `limits of a file are in force and shown, for every owner of a fabric`(owner: FabricFixture.Owner)
        throws
    {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        try fabric.succeed("network create shop")
        let containers = try Containers(fabric, 1)
        try fabric.succeed("attach --network shop --container c --name web --pid \(containers.pids[0])")
        let policy = """
            policy: web
            endpoints: all
            limits: {ingress: {connections: 100, packets: 500}, egress: {bandwidth: 20mbit}}
            ingress:
              - ports: [80/tcp]
                limit: {bandwidth: 5mbit}

            """
        _ = try fabric.write("p.yaml", policy)
        try fabric.succeed("policy apply -f p.yaml")
        let list = try fabric.succeed("policy ls")
        #expect(list.contains("in 100 connections/s 500 packets/s, out 20mbit"), "\(list)")
        let endpoint = try fabric.succeed("endpoint inspect web")
        for part in ["\"bandwidthKbit\": 20000", "rule 1 of ingress in policy web", "\"packets\": 500"] {
            #expect(endpoint.contains(part), "\(endpoint)")
        }
        _ = try fabric.write("p.yaml", policy.replacing("20mbit", with: "30mbit"))
        try fabric.succeed("policy apply -f p.yaml")
        #expect(try fabric.succeed("endpoint inspect web").contains("\"bandwidthKbit\": 30000"))
        try fabric.succeed("policy rm web")
        #expect(try !fabric.succeed("endpoint inspect web").contains("limits"))
    }
}
